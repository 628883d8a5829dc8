package tree_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/image/tree"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sample(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	must(t,
		tr.Dir("bin", 0o755, "base"),
		tr.File("bin/busybox", 0o755, tree.Bytes("elf"), "base"),
		tr.Link("bin/sh", "busybox", "base"),
		tr.Link("lib64", "/lib", "base"),
		tr.Dir("lib", 0o755, "base"),
		tr.Dir("tmp", 0o777|fs.ModeSticky, "base"),
		tr.Device("dev/console", 0o600, 5, 1, "base"),
	)
	return tr
}

func listing(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	must(t, tr.List(&b, true))
	return b.String()
}

func TestListing(t *testing.T) {
	const want = `drwxr-xr-x /bin
-rwxr-xr-x /bin/busybox 3
Lrwxrwxrwx /bin/sh -> busybox
drwxr-xr-x /dev
Dcrw------- /dev/console 5:1
drwxr-xr-x /lib
Lrwxrwxrwx /lib64 -> /lib
dtrwxrwxrwx /tmp
`
	if got := listing(t, sample(t)); got != want {
		t.Errorf("listing:\n%s\nwant:\n%s", got, want)
	}
}

func TestPutFollowsLinkedParents(t *testing.T) {
	tr := sample(t)
	must(t, tr.File("lib64/ld.so", 0o755, tree.Bytes("ld"), "x"))
	if tr.Get("lib/ld.so") == nil || tr.Get("lib64/ld.so") != nil {
		t.Errorf("landed elsewhere:\n%s", listing(t, tr))
	}
	if err := tr.Dir("lib64", 0o755, "x"); err != nil || tr.Get("lib64").Mode&fs.ModeSymlink == 0 {
		t.Errorf("a directory over a link to one: %v", err)
	}
	if err := tr.Dir("bin/sh/x", 0o755, "x"); !errors.Is(err, tree.ErrKind) {
		t.Errorf("directory below a file: %v", err)
	}
	if err := tr.File("lib", 0o644, tree.Bytes(nil), "x"); !errors.Is(err, tree.ErrKind) {
		t.Errorf("file over a directory: %v", err)
	}
}

func TestResolve(t *testing.T) {
	tr := sample(t)
	must(t, tr.Link("a", "b", ""), tr.Link("b", "/a", ""), tr.Link("up", "bin/../../../bin/sh", ""))
	for _, c := range []struct {
		path, real string
		found      bool
	}{
		{"/bin/sh", "bin/busybox", true},
		{"up", "bin/busybox", true},
		{"lib64", "lib", true},
		{"lib64/none/deep", "lib/none/deep", false},
		{"/", "", true},
	} {
		real, n := tr.Resolve(c.path)
		if real != c.real || (n != nil) != c.found {
			t.Errorf("Resolve(%q) = %q, %v; want %q, %v", c.path, real, n != nil, c.real, c.found)
		}
	}
	if _, n := tr.Resolve("a"); n != nil {
		t.Error("a loop of links resolved")
	}
}

func TestCPIORoundTrip(t *testing.T) {
	tr := sample(t)
	host := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(host, []byte("from the host"), 0o600))
	data, err := tree.HostFile(host)
	must(t, err, tr.File("etc/f", 0o640, data, "x"))
	records, err := tr.Records()
	must(t, err)
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	must(t, cpio.WriteRecords(w, records), cpio.WriteTrailer(w))

	back := tree.New()
	must(t, back.ReadCPIO(bytes.NewReader(archive.Bytes()), "x"))
	if a, b := listing(t, tr), listing(t, back); a != b {
		t.Errorf("before:\n%s\nafter:\n%s", a, b)
	}
	content, err := back.ReadFile("etc/f")
	if err != nil || string(content) != "from the host" {
		t.Errorf("content %q, %v", content, err)
	}
	h1, err1 := tr.Hash()
	h2, err2 := back.Hash()
	must(t, err1, err2)
	if h1 != h2 {
		t.Errorf("hash changed: %s, %s", h1, h2)
	}
}

// Tiny Core's archives hold hard links, where only the last record has the data.
func TestReadCPIOHardLinks(t *testing.T) {
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	must(t, cpio.WriteRecords(w, []cpio.Record{
		cpio.StaticRecord(nil, cpio.Info{Name: "one", Ino: 7, NLink: 2, Mode: cpio.S_IFREG | 0o755}),
		cpio.StaticRecord([]byte("data"), cpio.Info{Name: "two", Ino: 7, NLink: 2, Mode: cpio.S_IFREG | 0o755}),
	}), cpio.WriteTrailer(w))
	tr := tree.New()
	must(t, tr.ReadCPIO(bytes.NewReader(archive.Bytes()), "x"))
	for _, p := range []string{"one", "two"} {
		if b, err := tr.ReadFile(p); err != nil || string(b) != "data" {
			t.Errorf("%s = %q, %v", p, b, err)
		}
	}
}

func TestRemove(t *testing.T) {
	tr := sample(t)
	if got := tr.Remove("/bin"); got != 3 {
		t.Errorf("removed %d entries, want 3", got)
	}
	if tr.Get("bin/sh") != nil {
		t.Error("child is still there")
	}
}

func FuzzReadCPIO(f *testing.F) {
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	_ = cpio.WriteRecords(w, []cpio.Record{cpio.Directory("etc", 0o755), cpio.StaticFile("etc/x", "y", 0o644), cpio.Symlink("l", "etc")})
	_ = cpio.WriteTrailer(w)
	f.Add(archive.Bytes())
	f.Add([]byte("070701"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := tree.New()
		if err := tr.ReadCPIO(bytes.NewReader(b), "x"); err != nil {
			return
		}
		if _, err := tr.Records(); err != nil && !strings.Contains(err.Error(), "cannot store") {
			t.Error(err)
		}
	})
}
