package fat_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/fat"
	"kubesolo.io/os/internal/image/tool"
)

// fsck.fat and mtools read what was made; a second one is the same bytes, whatever the
// time of day and of the files.
func TestMake(t *testing.T) {
	run := tool.New(nil, time.Unix(1700000000, 0))
	for _, o := range []fat.Options{
		{Size: 1 << 20, Label: "SMALL", Serial: 1},
		{Size: 256 << 20, Label: "BIG", Serial: 2, FAT32: true},
	} {
		var made [2][]byte
		out := ""
		for i := range made {
			dir := t.TempDir()
			file := filepath.Join(dir, "f")
			if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
				t.Fatal(err)
			}
			out = filepath.Join(dir, "fat.img")
			err := fat.Make(context.Background(), run, out, o, []fat.File{{Path: "EFI/BOOT/X.EFI", Host: file}, {Path: "EFI/other", Host: file}})
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			made[i] = b
		}
		if !bytes.Equal(made[0], made[1]) || int64(len(made[0])) != o.Size {
			t.Errorf("%s: %d and %d bytes, not the same", o.Label, len(made[0]), len(made[1]))
		}
		if text, err := exec.Command("fsck.fat", "-n", out).CombinedOutput(); err != nil {
			t.Errorf("fsck.fat: %v: %s", err, text)
		}
		cmd := exec.Command("mtype", "-i", out, "::EFI/BOOT/X.EFI")
		if text, err := cmd.CombinedOutput(); err != nil || string(text) != "content" {
			t.Errorf("mtype: %v: %s", err, text)
		}
		if text, err := exec.Command("mdir", "-i", out, "::EFI/BOOT").CombinedOutput(); err != nil || !strings.Contains(string(text), "2023-11-14") {
			t.Errorf("mdir: %v: %s", err, text)
		}
	}
}
