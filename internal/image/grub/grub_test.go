package grub_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/grub"
	"kubesolo.io/os/internal/image/tool"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMenus(t *testing.T) {
	for name, text := range map[string]string{"iso.cfg": grub.ISOMenu(), "disk.cfg": grub.DiskMenu(), "early.cfg": grub.ISOEarly()} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || text != string(want) {
			t.Errorf("%s differs (go test -update writes it), %v; have:\n%s", name, err, text)
		}
		// GRUB's own parser is the judge of its language.
		if out, err := exec.Command("grub-script-check", file).CombinedOutput(); err != nil {
			t.Errorf("grub-script-check %s: %v: %s", name, err, out)
		}
	}
}

// Nobody is there when an entry ends with no slot loaded: each but the one that only
// a person chooses must go through boot_chosen, which starts again.
func TestEntriesDoNotEnd(t *testing.T) {
	entries := regexp.MustCompile(`(?m)^menuentry .* --id (\S+) \{\n  (\S+) .*\n\}$`).FindAllStringSubmatch(grub.DiskMenu(), -1)
	for _, e := range entries {
		if want := map[bool]string{false: "boot_chosen", true: "boot_slot"}[e[1] == "other"]; e[2] != want {
			t.Errorf("entry %s is %s, want %s", e[1], e[2], want)
		}
	}
	if len(entries) != 5 {
		t.Errorf("%d entries", len(entries))
	}
}

func TestCoreImagesAreTheSameEveryTime(t *testing.T) {
	run := tool.New(nil, time.Unix(1700000000, 0))
	for _, platform := range []string{grub.BIOS, grub.BIOSElTorito, grub.UEFI} {
		var made [2][]byte
		for i := range made {
			out := filepath.Join(t.TempDir(), "core")
			img := grub.Image{Platform: platform, Prefix: "/boot/grub", Early: "echo hello\n", Out: out}
			if err := grub.Make(context.Background(), run, img); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			made[i] = b
		}
		if len(made[0]) < 64<<10 || !bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: %d and %d bytes, not the same", platform, len(made[0]), len(made[1]))
		}
	}
}
