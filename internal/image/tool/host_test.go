package tool

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// machine is a PATH of its own: nothing of this machine is found or installed.
func machine(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func need(t *testing.T, root bool, programs ...string) (said string, err error) {
	t.Helper()
	var b strings.Builder
	err = New(nil, time.Unix(1, 0)).need(t.Context(), root, func(format string, args ...any) {
		b.WriteString(strings.TrimSpace(format))
		for _, a := range args {
			b.WriteString(" " + a.(string))
		}
	}, programs)
	return b.String(), err
}

func TestNeedAsRootInstalls(t *testing.T) {
	// The first try fails, as on a machine that has never read its package lists.
	dir := machine(t, map[string]string{"apt-get": `d=${0%/*}
[ "$1" != --version ] || exit 0
echo "$*" >> $d/log
case $1 in
update) echo yes > $d/lists;;
install) [ -e $d/lists ] || { echo Unable to locate package >&2; exit 100; }; echo '#!/bin/sh' > $d/of-mars; /bin/chmod 755 $d/of-mars;;
esac`})
	said, err := need(t, true, "of-mars")
	if err != nil || !strings.Contains(said, "of-mars") {
		t.Errorf("said %q, %v", said, err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	const install = "install -y --no-install-recommends of-mars\n"
	if err != nil || string(log) != install+"update\n"+install {
		t.Errorf("apt-get ran with %q, %v", log, err)
	}
	if said, err := need(t, true, "of-mars"); err != nil || said != "" {
		t.Errorf("nothing is missing: said %q, %v", said, err)
	}
}

func TestNeedSaysWhatToType(t *testing.T) {
	dir := machine(t, map[string]string{"apt-get": "echo ran > ${0%/*}/log"})
	said, err := need(t, false, "/no/such/file", "qemu-of-mars", "/no/such/file")
	if err == nil || !strings.HasSuffix(err.Error(), "sudo apt-get install -y --no-install-recommends /no/such/file qemu-of-mars") || said != "" {
		t.Errorf("said %q, %v", said, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
		t.Error("apt-get was run by another user than root")
	}
}

// On another distribution a line with apt-get helps nobody.
func TestNeedWithoutApt(t *testing.T) {
	machine(t, nil)
	for _, root := range []bool{true, false} {
		said, err := need(t, root, "qemu-of-mars")
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "qemu-of-mars") || !strings.Contains(err.Error(), "no apt-get") || said != "" {
			t.Errorf("root %v: said %q, %v", root, said, err)
		}
	}
}

func TestNeedGo(t *testing.T) {
	machine(t, map[string]string{"apt-get": "exit 100"})
	for _, root := range []bool{true, false} {
		_, err := need(t, root, "go", "qemu-of-mars")
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "https://go.dev/dl") || strings.Contains(err.Error(), "apt-get install -y --no-install-recommends go") {
			t.Errorf("root %v: %v", root, err)
		}
	}
	if got := Missing("go"); len(got) != 0 {
		t.Errorf("Debian packages of go: %v", got)
	}
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil || !strings.Contains(string(mod), "\ngo "+goVersion+".") {
		t.Errorf("Go %s is asked for, and go.mod wants another (%v)", goVersion, err)
	}
}

// Debian leaves the administrator's programs out of another user's PATH, where they
// are run all the same: depmod, mkfs.ext4, mkfs.vfat.
func TestAdministratorsPrograms(t *testing.T) {
	name := ""
	for _, n := range []string{"depmod", "mkfs.ext4", "ldconfig", "chroot"} {
		for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
			if _, err := os.Stat(dir + n); err == nil {
				name = n
			}
		}
	}
	if name == "" {
		t.Skip("this machine has none of them")
	}
	machine(t, nil)
	if got := Missing(name); len(got) != 0 {
		t.Errorf("Missing(%s) = %v", name, got)
	}
	if path, err := find(name); err != nil || !strings.HasSuffix(path, "sbin/"+name) {
		t.Errorf("find(%s) = %s, %v", name, path, err)
	}
}

// Debian itself says which package a file is of. Only what is installed here can be
// asked for; the names must be right on a machine that lacks it.
func TestPackagesAreDebians(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("no Debian")
	}
	want := map[string]string{} // path as Debian has it -> package
	for _, name := range []string{"mksquashfs", "unsquashfs", "mformat", "mcopy", "mmd", "mdir", "grub-mkimage", "depmod", "mkfs.ext4",
		"mkfs.vfat", "gcc", "xz", "apt-get", "dpkg-deb", "xorriso", "patchelf", "qemu-system-x86_64", "qemu-img",
		"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd",
		"/usr/lib/grub/i386-pc/boot_hybrid.img", "/usr/lib/grub/x86_64-efi/moddep.lst",
		"/usr/lib/x86_64-linux-gnu/libseccomp.a", "/usr/include/x86_64-linux-gnu/sys/types.h"} {
		if strings.HasPrefix(name, "/") {
			want[name] = packageOf(name)
			continue
		}
		for _, dir := range []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"} {
			want[dir+name] = packageOf(name)
		}
	}
	out, _ := exec.Command(dpkg, append([]string{"-S"}, slices.Sorted(maps.Keys(want))...)...).Output() // exit 1: some are not there
	seen := 0
	for line := range strings.Lines(string(out)) {
		owner, file, _ := strings.Cut(strings.TrimSpace(line), ": ")
		owner, _, _ = strings.Cut(owner, ":") // libc6-dev:amd64
		if seen++; owner != want[file] {
			t.Errorf("%s is of %s, not of %q", file, owner, want[file])
		}
	}
	if seen == 0 {
		t.Errorf("dpkg -S knows none of %d files", len(want))
	}
}
