package iso_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/iso"
	"kubesolo.io/os/internal/image/tool"
)

// xorriso reads its own result back: the files, and that BIOS and UEFI find boot images
// both as a CD and as a USB stick.
func TestWrite(t *testing.T) {
	run := tool.New(nil, time.Unix(1700000000, 0))
	var made [2][]byte
	out := ""
	for i := range made {
		dir := t.TempDir()
		p := iso.Parts{Kernel: filepath.Join(dir, "k"), Initramfs: filepath.Join(dir, "i"), Work: filepath.Join(dir, "w")}
		for name, text := range map[string]string{p.Kernel: "KERNEL", p.Initramfs: strings.Repeat("INITRAMFS", 10000)} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out = filepath.Join(dir, "x.iso")
		if err := iso.Write(context.Background(), run, out, p); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = b
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two ISOs of the same inputs differ")
	}
	report, err := exec.Command("xorriso", "-indev", out, "-report_el_torito", "plain", "-report_system_area", "plain",
		"-find", "/", "-type", "f").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	for _, want := range []string{
		"'/boot/vmlinuz'", "'/boot/kubesolo-os.gz'", "'/boot/grub/grub.cfg'",
		"El Torito boot img :   1  BIOS  y", "El Torito boot img :   2  UEFI  y", "grub2-mbr", "protective-msdos-label",
	} {
		if !strings.Contains(string(report), want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
}
