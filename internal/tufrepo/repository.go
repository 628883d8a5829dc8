package tufrepo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/atomicfile"
)

// Repository is a directory that nodes update from, and the keys that sign it.
type Repository struct {
	Dir    string
	Keys   *Keys
	Time   time.Time // of signing
	Expiry Expiry
}

// state is what a repository offers, and the versions it is at. All are 0 in a new one.
type state struct {
	targets                            *metadata.Metadata[metadata.TargetsType]
	targetsText                        []byte // as published, nil in a new repository
	targetsAt, snapshotAt, timestampAt int64
	oldKeys                            bool // signed by keys that were replaced since
}

func (r *Repository) metadata(name string) string { return filepath.Join(r.Dir, "metadata", name) }

// lock keeps a second publisher out until unlock: both would publish the same version.
func (r *Repository) lock() (unlock func(), err error) {
	for _, dir := range []string{"metadata", "targets"} {
		if err := os.MkdirAll(filepath.Join(r.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(filepath.Join(r.Dir, "metadata"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("repository %s: somebody else is publishing: %w", r.Dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// load reads what was published last and checks its signatures, not its expiry. After a
// rotation the keys that count are those of the newest root that was published.
func (r *Repository) load() (*state, error) {
	s, err := r.loadBy(r.Keys.root)
	if err == nil || absent(err) {
		return s, err
	}
	published := r.Keys.root.Signed.Version
	for published > 1 && !exists(r.metadata(rootName(published))) {
		published--
	}
	if published == r.Keys.root.Signed.Version {
		return nil, err
	}
	root, rootErr := new(metadata.Metadata[metadata.RootType]).FromFile(filepath.Join(r.Keys.dir, rootName(published)))
	if rootErr != nil {
		return nil, rootErr
	}
	if s, err = r.loadBy(root); err == nil {
		s.oldKeys = true
	}
	return s, err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (r *Repository) loadBy(root *metadata.Metadata[metadata.RootType]) (*state, error) {
	s := &state{targets: metadata.Targets(expires(r.Time, r.Expiry.Targets))}
	if !exists(r.metadata("timestamp.json")) {
		return s, nil
	}
	timestamp, _, err := read(r, root, "timestamp.json", metadata.TIMESTAMP, metadata.Timestamp())
	if err != nil {
		return nil, err
	}
	var name string
	if name, s.snapshotAt, err = named(timestamp.Signed.Meta, metadata.SNAPSHOT); err != nil {
		return nil, err
	}
	snapshot, _, err := read(r, root, name, metadata.SNAPSHOT, metadata.Snapshot())
	if err != nil {
		return nil, err
	}
	if name, s.targetsAt, err = named(snapshot.Signed.Meta, metadata.TARGETS); err != nil {
		return nil, err
	}
	if s.targets, s.targetsText, err = read(r, root, name, metadata.TARGETS, metadata.Targets()); err != nil {
		return nil, err
	}
	s.timestampAt = timestamp.Signed.Version
	return s, nil
}

func named(meta map[string]*metadata.MetaFiles, role string) (name string, version int64, err error) {
	file := meta[role+".json"]
	if file == nil {
		return "", 0, fmt.Errorf("the repository's metadata names no %s.json", role)
	}
	return fmt.Sprintf("%d.%s.json", file.Version, role), file.Version, nil
}

func read[T metadata.Roles](r *Repository, root *metadata.Metadata[metadata.RootType], name, role string, into *metadata.Metadata[T]) (*metadata.Metadata[T], []byte, error) {
	text, err := os.ReadFile(r.metadata(name))
	if err != nil {
		return nil, nil, err
	}
	m, err := into.FromBytes(text)
	if err == nil {
		err = root.VerifyDelegate(role, m)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: it was not signed with the keys in %s: give the right --keys, or another --repository",
			r.metadata(name), err, r.Keys.dir)
	}
	return m, text, nil
}

// publish signs the next state and writes it. Nodes that read meanwhile see the old state
// until timestamp.json is replaced. When a root that changes keys comes with it, nodes that
// read between these two writes find a file that they cannot verify, and try again later;
// the root is last, so that its presence says that nothing is left of the old keys.
func (r *Repository) publish(s *state, targets bool) error {
	files := map[string][]byte{}
	if targets || s.targetsText == nil || s.oldKeys {
		s.targetsAt++
		s.targets.Signed.Version = s.targetsAt
		s.targets.Signed.Expires = expires(r.Time, r.Expiry.Targets)
		text, err := sealed(r.Keys, metadata.TARGETS, s.targets)
		if err != nil {
			return err
		}
		s.targetsText = text
		files[fmt.Sprintf("%d.targets.json", s.targetsAt)] = text
	}
	s.snapshotAt++
	snapshot := metadata.Snapshot(expires(r.Time, r.Expiry.Snapshot))
	snapshot.Signed.Version = s.snapshotAt
	snapshot.Signed.Meta["targets.json"] = metaFile(s.targetsAt, s.targetsText)
	text, err := sealed(r.Keys, metadata.SNAPSHOT, snapshot)
	if err != nil {
		return err
	}
	files[fmt.Sprintf("%d.snapshot.json", s.snapshotAt)] = text
	s.timestampAt++
	timestamp := metadata.Timestamp(expires(r.Time, r.Expiry.Timestamp))
	timestamp.Signed.Version = s.timestampAt
	timestamp.Signed.Meta["snapshot.json"] = metaFile(s.snapshotAt, text)
	last, err := sealed(r.Keys, metadata.TIMESTAMP, timestamp)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := r.write(name, text); err != nil {
			return err
		}
	}
	if err := r.write("timestamp.json", last); err != nil {
		return err
	}
	return r.writeRoots()
}

// writeRoots copies the roots of the key directory that the repository does not have.
func (r *Repository) writeRoots() error {
	for version := int64(1); version <= r.Keys.root.Signed.Version; version++ {
		text, err := os.ReadFile(filepath.Join(r.Keys.dir, rootName(version)))
		if err == nil {
			err = r.write(rootName(version), text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write adds a file. It may replace one that no timestamp names, as a publisher leaves it
// who is interrupted.
func (r *Repository) write(name string, text []byte) error {
	if old, err := os.ReadFile(r.metadata(name)); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return atomicfile.Write(r.metadata(name), text, 0o644)
}

// sealed signs the file of an online role.
func sealed[T metadata.Roles](k *Keys, role string, m *metadata.Metadata[T]) ([]byte, error) {
	key, err := k.signer(role)
	if err != nil {
		return nil, err
	}
	m.ClearSignatures()
	if _, err := m.Sign(key.signer); err != nil {
		return nil, fmt.Errorf("sign %s: %w", role, err)
	}
	return encode(m)
}

func metaFile(version int64, text []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(text)
	return &metadata.MetaFiles{Version: version, Length: int64(len(text)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}
