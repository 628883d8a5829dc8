package squashfs_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/squashfs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

func sample(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, err := range []error{
		tr.File("bin/busybox", 0o755, tree.Bytes(strings.Repeat("text ", 100000)), ""),
		tr.Link("bin/sh", "busybox", ""),
		tr.Dir("tmp", 0o777|fs.ModeSticky, ""),
		tr.File("etc/shadow", 0o600, tree.Bytes("root:!"), ""),
		tr.Device("dev/null", 0o666, 1, 3, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// The foreign reader is unsquashfs. Modes, owners and times are the tree's and the
// build's, and a second image is the same bytes, also with the compressor's threads.
func TestPack(t *testing.T) {
	run := tool.New(nil, time.Unix(1700000000, 0))
	for _, o := range []squashfs.Options{{Level: 3, Block: "128K"}, {Stored: true}} {
		var made [2][]byte
		out := filepath.Join(t.TempDir(), "x.squashfs")
		for i := range made {
			if err := squashfs.Pack(context.Background(), run, sample(t), out, o); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			made[i] = b
		}
		if !bytes.Equal(made[0], made[1]) {
			t.Error("two images differ")
		}
		if big := len(made[0]) > 500000; big != o.Stored {
			t.Errorf("%+v: %d bytes", o, len(made[0]))
		}
		if text, err := squashfs.Cat(context.Background(), run, out, "etc/shadow"); err != nil || string(text) != "root:!" {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := squashfs.Cat(context.Background(), run, out, "etc/passwd"); err == nil {
			t.Error("a file that is not there was read")
		}
		cmd := exec.Command("unsquashfs", "-lln", out)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		list, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, list)
		}
		// Column widths differ between versions.
		listing := strings.Join(strings.FieldsFunc(string(list), func(r rune) bool { return r == ' ' }), " ")
		for _, want := range []string{
			"-rwxr-xr-x 0/0 500000 2023-11-14 22:13 squashfs-root/bin/busybox\n",
			"lrwxrwxrwx 0/0 7 2023-11-14 22:13 squashfs-root/bin/sh -> busybox\n",
			"drwxrwxrwt 0/0 3 2023-11-14 22:13 squashfs-root/tmp\n",
			"-rw------- 0/0 6 2023-11-14 22:13 squashfs-root/etc/shadow\n",
			"crw-rw-rw- 0/0 1, 3 2023-11-14 22:13 squashfs-root/dev/null\n",
		} {
			if !strings.Contains(listing, want) {
				t.Errorf("unsquashfs does not list %q:\n%s", want, listing)
			}
		}
	}
}
