package grub_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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

// GRUB 2.06 looks a fallback up by number only: with an id there was none, and
// a damaged slot left the machine at the menu.
func TestFallbackIsTheOtherSlot(t *testing.T) {
	menu := grub.DiskMenu()
	fallback := regexp.MustCompile(`(?m)^set fallback=(.*)$`).FindStringSubmatch(menu)
	if fallback == nil {
		t.Fatal("no fallback")
	}
	ids := regexp.MustCompile(`(?m)^menuentry .* --id (\S+) `).FindAllStringSubmatch(menu, -1)
	number, err := strconv.Atoi(fallback[1])
	if err != nil || number >= len(ids) || ids[number][1] != "other" {
		t.Errorf("fallback %s of the entries %v, %v", fallback[1], ids, err)
	}
}

func TestEnvironment(t *testing.T) {
	b, err := grub.Environment("slot=A")
	if err != nil || len(b) != grub.EnvironmentSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("grub-editenv", file, "list").Output()
	if err != nil || string(out) != "slot=A\n" {
		t.Errorf("grub-editenv reads %q, %v", out, err)
	}
	for _, bad := range []string{"slot", "slot=A\nother=B", "x=" + strings.Repeat("y", 1024)} {
		if _, err := grub.Environment(bad); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
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
