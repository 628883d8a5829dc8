package stamp_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/stamp"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFresh(t *testing.T) {
	dir := t.TempDir()
	s := stamp.Store{Dir: filepath.Join(dir, "stamps")}
	out := filepath.Join(dir, "out")
	if s.Fresh("a/b", "k") {
		t.Error("fresh before it ran")
	}
	write(t, out, "one")
	if err := s.Done("a/b", "k", out); err != nil {
		t.Fatal(err)
	}
	if !s.Fresh("a/b", "k") {
		t.Error("not fresh after it ran")
	}
	if s.Fresh("a/b", "other") {
		t.Error("fresh with another key")
	}
	write(t, out, "changed by hand")
	if s.Fresh("a/b", "k") {
		t.Error("fresh although its output was edited")
	}
	if err := s.Done("c", "k", filepath.Join(dir, "none")); err == nil {
		t.Error("done without its output")
	}
}

func TestKeyOfFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "1")
	key := func() string {
		k, err := stamp.KeyOfFiles(func(name string, d fs.DirEntry) bool { return strings.HasSuffix(name, ".skip") }, dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	write(t, filepath.Join(dir, "b.skip"), "x")
	if key() != first {
		t.Error("a skipped file changed the key")
	}
	write(t, filepath.Join(dir, "a"), "2")
	if key() == first {
		t.Error("a changed file left the key alone")
	}
	if stamp.Key("ab", "c") == stamp.Key("a", "bc") {
		t.Error("parts run together")
	}
}
