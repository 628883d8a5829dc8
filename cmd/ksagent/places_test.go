package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/sirupsen/logrus"

	"kubesolo.io/os/internal/tufrepo"
	"kubesolo.io/os/internal/updatepush"
)

// place is where nodes get updates from.
type place struct {
	address string // as in update.source
	// publish makes it have the repository in dir, and nothing of another.
	publish func(dir string)
	// kept is the file in which it has one of the repository that was published last.
	kept func(title string) string
}

func startServer(t *testing.T) *place {
	t.Helper()
	root := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	www := filepath.Join(root, "os")
	return &place{
		address: server.URL + "/os",
		publish: func(dir string) {
			t.Helper()
			if err := os.RemoveAll(www); err != nil {
				t.Fatal(err)
			}
			copyTo(t, www, dir)
		},
		kept: func(title string) string { return filepath.Join(www, title) },
	}
}

// startStorage runs a registry as registrytest does, but with its storage in files,
// which can be damaged under it.
func startStorage(t *testing.T) *place {
	t.Helper()
	logrus.SetOutput(io.Discard)
	root := t.TempDir()
	c := &configuration.Configuration{Storage: configuration.Storage{"filesystem": {"rootdirectory": root}}}
	c.HTTP.Secret = "for tests" // of uploads in parts; without one it warns
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	server := httptest.NewServer(handlers.NewApp(ctx, c))
	t.Cleanup(server.Close)
	name := strings.TrimPrefix(server.URL, "http://") + "/plant/kubesolo-os"
	var last string
	return &place{
		address: "oci://" + name, // the agent adds the channel as the tag
		publish: func(dir string) {
			t.Helper()
			last = dir
			o := updatepush.Options{Dir: dir, Reference: name + ":stable", Created: time.Unix(1_800_000_000, 0)}
			if _, err := updatepush.Push(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		},
		kept: func(title string) string {
			t.Helper()
			text, err := os.ReadFile(filepath.Join(last, title))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(text)
			id := hex.EncodeToString(sum[:])
			return filepath.Join(root, "docker/registry/v2/blobs/sha256", id[:2], id, "data")
		},
	}
}

// slotSize is of the file that stands for the partition, and larger than any image.
const slotSize = 3 << 20

// slotImage has what makes a squashfs of a partition, and no other image's bytes.
func slotImage(version string, size int) []byte {
	image := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(version))).Read(image)
	copy(image, "hsqs")
	binary.LittleEndian.PutUint64(image[40:], uint64(size)) // bytes_used
	return image
}

// signed are repositories, each a directory that is changed no more.
type signed struct {
	root                    []byte            // of the image of each node
	images                  map[string][]byte // by version
	first, second, third    string            // one repository in time; the third has new keys
	exchanged               string            // the first, with another image under the name of its own
	foreign, foreignRotated string            // another one, with one root and with two
}

func newSigned(t *testing.T) *signed {
	t.Helper()
	w := &signed{images: map[string][]byte{}}
	ours := newRepository(t)
	w.root = ours.Keys.FirstRoot()
	w.first = w.release(t, ours, "0.2.0")
	w.second = w.release(t, ours, "0.3.0")
	rotate(t, ours, "root", "targets", "snapshot", "timestamp")
	w.third = w.release(t, ours, "0.4.0")
	theirs := newRepository(t)
	w.foreign = w.release(t, theirs, "8.0.0")
	rotate(t, theirs)
	w.foreignRotated = w.release(t, theirs, "9.0.0")
	w.exchanged = filepath.Join(t.TempDir(), "exchanged")
	copyTo(t, w.exchanged, w.first)
	files, err := filepath.Glob(filepath.Join(w.exchanged, "targets/*.slot"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], slotImage("exchanged", len(w.images["0.2.0"])), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// newRepository has random keys: test keys are the same for all.
func newRepository(t *testing.T) *tufrepo.Repository {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	keys := filepath.Join(dir, "keys")
	if err := tufrepo.Init(tufrepo.NewKeys{Dir: keys, RootKeys: 3, Threshold: 2, Time: now, Expiry: tufrepo.DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	k, err := tufrepo.Open(keys)
	if err != nil {
		t.Fatal(err)
	}
	return &tufrepo.Repository{Dir: filepath.Join(dir, "repository"), Keys: k, Time: now, Expiry: tufrepo.DefaultExpiry()}
}

func rotate(t *testing.T, r *tufrepo.Repository, roles ...string) {
	t.Helper()
	if err := r.Keys.Rotate(tufrepo.Rotation{Roles: roles, Time: r.Time, Expiry: r.Expiry}); err != nil {
		t.Fatal(err)
	}
}

// release adds a version and gives a copy of the repository as it then is.
func (w *signed) release(t *testing.T, r *tufrepo.Repository, version string) string {
	t.Helper()
	// Longer than what is written at once, and no multiple of anything.
	image := slotImage(version, 5<<19+len(w.images)+1)
	w.images[version] = image
	dir := t.TempDir()
	file := filepath.Join(dir, "slot")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(tufrepo.Release{File: file, Version: version, Architecture: architecture, Channels: []string{"stable"}, Released: r.Time}); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	copyTo(t, state, r.Dir)
	return state
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file, or changes it back.
func flip(t *testing.T, name string, at int) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(data)
	changed[at] ^= 1
	if err := os.WriteFile(name, changed, 0o600); err != nil {
		t.Fatal(err)
	}
}
