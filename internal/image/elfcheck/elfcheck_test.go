package elfcheck_test

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/elfcheck"
	"kubesolo.io/os/internal/image/tree"
)

// root is a tree with the host's own mount program and everything it needs, at the places
// the host has it: real ELF files, a real glibc.
func root(t *testing.T) (*tree.Tree, map[string]string) {
	t.Helper()
	pool := tree.New()
	program, err := filepath.EvalSymlinks("/usr/bin/mount")
	if err != nil {
		t.Fatal(err)
	}
	add := func(host, to string) {
		data, err := tree.HostFile(host)
		if err != nil {
			t.Fatal(err)
		}
		if err := pool.File(to, 0o755, data, ""); err != nil {
			t.Fatal(err)
		}
	}
	add(program, "bin/mount")
	add("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2")
	const dir = "/usr/lib/x86_64-linux-gnu/"
	for _, lib := range []string{"libc.so.6", "libmount.so.1", "libblkid.so.1", "libselinux.so.1", "libpcre2-8.so.0"} {
		add(dir+lib, "lib/x86_64-linux-gnu/"+lib)
	}
	_, libs, err := elfcheck.Needs(pool, "bin/mount")
	if err != nil {
		t.Fatal(err)
	}
	return pool, libs
}

func problems(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	r, err := elfcheck.Check(tr)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Err(); e != nil {
		return e.Error()
	}
	return ""
}

func TestCompleteRoot(t *testing.T) {
	tr, libs := root(t)
	if libs["libpcre2-8.so.0"] != "lib/x86_64-linux-gnu/libpcre2-8.so.0" {
		t.Errorf("the library of a library is not found: %v", libs)
	}
	if p := problems(t, tr); p != "" {
		t.Error(p)
	}
	r, err := elfcheck.Check(tr)
	if err != nil || len(r.LibC) != 1 || r.Dynamic < 1 {
		t.Errorf("report %+v, %v", r, err)
	}
}

func TestMissingParts(t *testing.T) {
	for _, c := range []struct{ name, remove, want string }{
		{"library of a library", "lib/x86_64-linux-gnu/libpcre2-8.so.0", "needs libpcre2-8.so.0"},
		{"libc", "lib/x86_64-linux-gnu/libc.so.6", "needs libc.so.6"},
		{"loader", "lib64", "its interpreter /lib64/ld-linux-x86-64.so.2 is not in the root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, _ := root(t)
			tr.Remove(c.remove)
			if p := problems(t, tr); !strings.Contains(p, c.want) {
				t.Errorf("problems = %q, want one with %q", p, c.want)
			}
		})
	}
}

// The peer's fault: the loader of one glibc beside the C library of another.
func TestTwoLibraries(t *testing.T) {
	tr, _ := root(t)
	libc, err := tr.ReadFile("lib/x86_64-linux-gnu/libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Replace(libc, []byte("stable release version 2."), []byte("stable release version 1."), 1)
	if bytes.Equal(old, libc) {
		t.Fatal("this glibc does not say its version")
	}
	if err := tr.File("lib/x86_64-linux-gnu/libc.so.6", 0o755, tree.Bytes(old), ""); err != nil {
		t.Fatal(err)
	}
	if p := problems(t, tr); !strings.Contains(p, "two C libraries") {
		t.Errorf("problems = %q", p)
	}
}

func TestDamagedFile(t *testing.T) {
	tr := tree.New()
	if err := tr.File("bin/x", 0o755, tree.Bytes(elf.ELFMAG+"junk"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := elfcheck.Check(tr); err == nil || !strings.Contains(err.Error(), "/bin/x: damaged ELF file") {
		t.Errorf("error = %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	b, err := os.ReadFile("/usr/bin/true")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4096])
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := tree.New()
		if err := tr.Put("x", tree.Node{Mode: fs.FileMode(0o755), Data: tree.Bytes(b)}); err != nil {
			t.Fatal(err)
		}
		_, _ = elfcheck.Check(tr) // must not panic
	})
}
