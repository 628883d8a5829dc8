package trust

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rotated is a node that has seen 0.1.0 and then, under root 3, 0.2.0; old is the first
// state, which still has no other root than the first.
func rotated(t *testing.T) (f *forge, dir string, old files) {
	t.Helper()
	f, dir = newForge(t), t.TempDir()
	c := f.open(dir)
	f.publish("0.1.0")
	old = f.copy()
	f.refresh(c, f.files)
	f.root(f.keys["root"]...)
	f.root(f.keys["root"]...)
	f.publish("0.2.0")
	f.refresh(c, f.files)
	return f, dir, old
}

func damages() map[string]func(t *testing.T, name string) {
	put := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			t.Helper()
			data, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, change(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return map[string]func(*testing.T, string){
		"garbage":   put(func([]byte) []byte { return []byte("\x00\xff garbage") }),
		"empty":     put(func([]byte) []byte { return nil }),
		"zeros":     put(func(b []byte) []byte { return make([]byte, len(b)) }),
		"cut off":   put(func(b []byte) []byte { return b[:len(b)/2] }),
		"flipped":   put(func(b []byte) []byte { b[len(b)/2] ^= 4; return b }),
		"oversized": put(func(b []byte) []byte { return append(b, make([]byte, 2<<20)...) }),
		"null":      put(func([]byte) []byte { return []byte(`{"signed":null,"signatures":null}`) }),
		"gone": func(t *testing.T, name string) {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestDamagedFilesHeal(t *testing.T) {
	f, seen, _ := rotated(t)
	names := []string{"2.root.json", "3.root.json", "timestamp.json", "snapshot.json", "targets.json"}
	whole := map[string][]byte{}
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(seen, f.mark.Repository, n))
		if err != nil {
			t.Fatal(err)
		}
		whole[n] = data
	}
	for kind, damage := range damages() {
		for _, name := range append(names, "all") {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := again(t, seen)
				for _, n := range names {
					if n == name || name == "all" {
						damage(t, filepath.Join(dir, f.mark.Repository, n))
					}
				}
				c := f.open(dir)
				f.refresh(c, f.files)
				if got := offered(c); !slices.Equal(got, []string{"0.2.0"}) {
					t.Errorf("offered %v", got)
				}
				for n, want := range whole {
					if got, err := os.ReadFile(filepath.Join(dir, f.mark.Repository, n)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s was not healed: %v", n, err)
					}
				}
			})
		}
	}
}

// Whichever single file is intact: the older state is refused.
func TestOneIntactFileIsEnoughToRefuseAnOlderState(t *testing.T) {
	f, seen, old := rotated(t)
	names := []string{"timestamp.json", "snapshot.json", "targets.json"}
	for kind, damage := range damages() {
		for _, intact := range names {
			t.Run(kind+" all but "+intact, func(t *testing.T) {
				dir := again(t, seen)
				for _, n := range names {
					if n != intact {
						damage(t, filepath.Join(dir, f.mark.Repository, n))
					}
				}
				err := f.open(dir).Refresh(t.Context(), old)
				if !errors.Is(err, ErrRollback) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// A damaged link of the chain is fetched again; a source that holds it back is refused,
// also when all that this node has of the later roots is their names.
func TestRootsHeldBack(t *testing.T) {
	for _, damaged := range [][]string{{"2.root.json"}, {"3.root.json"}, {"2.root.json", "3.root.json"}} {
		f, dir, old := rotated(t)
		for _, n := range damaged {
			if err := os.WriteFile(filepath.Join(dir, f.mark.Repository, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := f.open(dir)
		err := c.Refresh(t.Context(), old)
		if !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), damaged[0]) || !strings.Contains(err.Error(), "complete copy") {
			t.Errorf("%v damaged: error %v", damaged, err)
		}
		f.refresh(c, f.files)
		if c.Root().Version != 3 {
			t.Errorf("%v damaged: root %d", damaged, c.Root().Version)
		}
	}
}

// A disk that served an image of another publisher, or of test keys, is no obstacle.
func TestRepositoriesDoNotMix(t *testing.T) {
	f, dir, old := rotated(t)
	other := newForge(t)
	other.mark = RootMark{Repository: "fedcba9876543210", TestKeys: true}
	other.keys["root"] = []ed25519.PrivateKey{key("other")}
	other.threshold["root"], other.rootAt = 1, 0
	other.root(other.keys["root"]...)
	other.publish("7.0.0")
	c := other.open(dir)
	other.refresh(c, other.files)
	if got := offered(c); !slices.Equal(got, []string{"7.0.0"}) || !c.Root().TestKeys {
		t.Errorf("offered %v, %+v", got, c.Root())
	}
	if err := f.open(dir).Refresh(t.Context(), old); !errors.Is(err, ErrRollback) {
		t.Errorf("forgotten: %v", err)
	}
}

// What cannot be kept is not used.
func TestDiskThatCannotBeWritten(t *testing.T) {
	f := newForge(t)
	f.publish("0.1.0")
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := f.open(dir)
	err := c.Refresh(t.Context(), f.files)
	if err == nil || !strings.Contains(err.Error(), "is the data partition full or read-only?") || len(c.Targets()) != 0 {
		t.Errorf("offered %v, error %v", c.Targets(), err)
	}
}

// A power cut between any two writes leaves a state that the next refresh goes on from.
func TestCutAfterEachWrite(t *testing.T) {
	f, dir, _ := rotated(t)
	before := again(t, dir)
	f.root(f.keys["root"]...)
	f.publish("0.3.0")
	f.refresh(f.open(dir), f.files)
	for n := range 5 {
		at := again(t, before)
		for _, name := range []string{"4.root.json", "timestamp.json", "snapshot.json", "targets.json"}[:n] {
			data, err := os.ReadFile(filepath.Join(dir, f.mark.Repository, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(at, f.mark.Repository, name), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		c := f.open(at)
		f.refresh(c, f.files)
		if got := offered(c); !slices.Equal(got, []string{"0.3.0"}) {
			t.Errorf("cut after %d writes: offered %v", n, got)
		}
	}
}
