package trust

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// files is a repository's metadata directory in memory.
type files map[string][]byte

func (f files) Metadata(_ context.Context, name string, limit int64) ([]byte, error) {
	data, ok := f[name]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("longer than %d bytes", limit)
	}
	return data, nil
}

func (f files) Target(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, fs.ErrNotExist
}

func (f files) String() string { return "memory" }

// forge signs repositories, good and bad ones.
type forge struct {
	t         testing.TB
	now       time.Time
	keys      map[string][]ed25519.PrivateKey
	threshold map[string]int
	expires   map[string]time.Time
	mark      RootMark
	rootAt    int64 // version of the newest root
	at        int64 // version of the other roles
	files     files
}

// clone can be changed without changing f.
func (f *forge) clone(t testing.TB) *forge {
	c := *f
	c.t, c.files = t, f.copy()
	c.keys, c.threshold, c.expires = maps.Clone(f.keys), maps.Clone(f.threshold), maps.Clone(f.expires)
	return &c
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// newForge has two of three root keys, one key for each other role, and 1.root.json.
func newForge(t testing.TB) *forge {
	t.Helper()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	f := &forge{t: t, now: now, files: files{}, mark: RootMark{Repository: "0123456789abcdef"},
		keys: map[string][]ed25519.PrivateKey{metadata.ROOT: {key("a"), key("b"), key("c")},
			metadata.TARGETS: {key("targets")}, metadata.SNAPSHOT: {key("snapshot")}, metadata.TIMESTAMP: {key("timestamp")}},
		threshold: map[string]int{metadata.ROOT: 2}, expires: map[string]time.Time{}}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		f.expires[role] = now.AddDate(0, 1, 0)
	}
	f.root(f.keys[metadata.ROOT]...)
	return f
}

func sign[T metadata.Roles](t testing.TB, m *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	t.Helper()
	for _, k := range keys {
		signer, err := signature.LoadED25519Signer(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Sign(signer); err != nil {
			t.Fatal(err)
		}
	}
	data, err := m.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// root makes the next root of the forge's keys, signed by signers.
func (f *forge) root(signers ...ed25519.PrivateKey) []byte {
	f.t.Helper()
	f.rootAt++
	m := metadata.Root(f.expires[metadata.ROOT])
	m.Signed.Version = f.rootAt
	m.Signed.UnrecognizedFields = map[string]any{RootField: f.mark}
	for role, keys := range f.keys {
		for _, k := range keys {
			public, err := metadata.KeyFromPublicKey(k.Public())
			if err != nil {
				f.t.Fatal(err)
			}
			if err := m.Signed.AddKey(public, role); err != nil {
				f.t.Fatal(err)
			}
		}
		m.Signed.Roles[role].Threshold = max(1, f.threshold[role])
	}
	data := sign(f.t, m, signers...)
	f.files[rootName(f.rootAt)] = data
	return data
}

func metaFile(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{Version: version, Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// publish signs the next version of all roles but the root, with these slot images.
func (f *forge) publish(versions ...string) {
	f.t.Helper()
	f.at++
	m := metadata.Targets(f.expires[metadata.TARGETS])
	for _, v := range versions {
		sum := sha256.Sum256([]byte(v))
		custom, err := json.Marshal(Custom{Version: v, Architecture: "amd64", Channels: []string{"stable"}, Released: f.now})
		if err != nil {
			f.t.Fatal(err)
		}
		m.Signed.Targets[TargetName(v, "amd64")] = &metadata.TargetFiles{Length: 1000,
			Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: (*json.RawMessage)(&custom)}
	}
	f.targets(m)
}

// targets signs m and all that is below it.
func (f *forge) targets(m *metadata.Metadata[metadata.TargetsType]) {
	m.Signed.Version = f.at
	f.snapshot(metaFile(f.at, f.write("%d.targets.json", sign(f.t, m, f.keys[metadata.TARGETS]...))))
}

func (f *forge) snapshot(targets *metadata.MetaFiles) {
	m := metadata.Snapshot(f.expires[metadata.SNAPSHOT])
	m.Signed.Version, m.Signed.Meta = f.at, map[string]*metadata.MetaFiles{"targets.json": targets}
	f.timestamp(metaFile(f.at, f.write("%d.snapshot.json", sign(f.t, m, f.keys[metadata.SNAPSHOT]...))))
}

func (f *forge) timestamp(snapshot *metadata.MetaFiles) {
	m := metadata.Timestamp(f.expires[metadata.TIMESTAMP])
	m.Signed.Version, m.Signed.Meta = f.at, map[string]*metadata.MetaFiles{"snapshot.json": snapshot}
	f.files["timestamp.json"] = sign(f.t, m, f.keys[metadata.TIMESTAMP]...)
}

func (f *forge) write(format string, data []byte) []byte {
	f.files[fmt.Sprintf(format, f.at)] = data
	return data
}

// copy is the repository as it is now.
func (f *forge) copy() files { return maps.Clone(f.files) }

// open makes a client in dir that has the root of version 1.
func (f *forge) open(dir string) *Client {
	f.t.Helper()
	c, err := Open(Options{Dir: dir, Root: bytes.Clone(f.files["1.root.json"]), Now: func() time.Time { return f.now }})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *forge) refresh(c *Client, src files) {
	f.t.Helper()
	if err := c.Refresh(f.t.Context(), src); err != nil {
		f.t.Fatal(err)
	}
}

// again is a copy of what a client has kept in dir, for another client.
func again(t testing.TB, dir string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func offered(c *Client) (versions []string) {
	for _, t := range c.Targets() {
		versions = append(versions, t.Version)
	}
	return versions
}
