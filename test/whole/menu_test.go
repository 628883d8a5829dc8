// What an operator at the serial console can do before the node starts: every
// entry of GRUB's menus but the normal one (which the other tests boot) is
// chosen with the keys of the real ISO and disk image, and does what it says.

package whole

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"kubesolo.io/os/internal/vmtest"
)

// menuLimit is for what takes seconds: a key of the menu, a line of the early
// boot, an answer of the shell. OVMF alone takes half a minute under emulation.
const menuLimit = 4 * time.Minute

// arrowDown is what a terminal sends for the key.
const arrowDown = "\x1b[B"

func expect(t *testing.T, vm *vmtest.VM, re string) {
	t.Helper()
	if _, err := vm.Expect(re, menuLimit); err != nil {
		t.Fatal(err)
	}
}

func typeKeys(t *testing.T, vm *vmtest.VM, keys string) {
	t.Helper()
	if err := vm.Type(keys); err != nil {
		t.Fatal(err)
	}
}

// highlight moves down to an entry of the menu, which has a star in front of
// the highlighted one. The first key also stops the countdown.
func highlight(t *testing.T, vm *vmtest.VM, entries ...string) {
	t.Helper()
	for i, title := range entries {
		if i > 0 {
			typeKeys(t, vm, arrowDown)
		}
		expect(t, vm, `\*`+regexp.QuoteMeta(title)+" ")
	}
}

// choose boots the last one of entries, all of which are in the menu in this order.
func choose(t *testing.T, vm *vmtest.VM, entries ...string) {
	t.Helper()
	highlight(t, vm, entries...)
	typeKeys(t, vm, "\r")
	expect(t, vm, "Loading KubeSolo OS")
}

// TestISOMenu chooses each entry of the ISO's menu, and boots only until the
// lines are there that tell it from the normal one.
func TestISOMenu(t *testing.T) {
	const normal, debug, shell, nothingKept = "KubeSolo OS", "KubeSolo OS, debug log on the console",
		"KubeSolo OS, emergency shell", "KubeSolo OS, nothing is kept (no data partition)"
	config := vmtest.Config{ISO: artefact(t, "kubesolo-os-amd64.iso"), ProbeWith: artefact(t, "vmlinuz")}
	t.Run("debug, UEFI", func(t *testing.T) {
		config := config
		config.Name, config.UEFI = "menu-debug", true
		vm := vmtest.Run(t, config)
		choose(t, vm, normal, debug)
		expect(t, vm, `Command line: .*\bkubesolo\.debug\b`)
		// From the kernel's log, which the normal entry keeps off the
		// console, and below that ksinit's own debug lines.
		expect(t, vm, `ksinit: ok step=arguments .*message=debug`)
		expect(t, vm, `ksinit: started step=`)
	})
	t.Run("emergency shell", func(t *testing.T) {
		config := config
		config.Name = "menu-shell"
		vm := vmtest.Run(t, config)
		choose(t, vm, normal, debug, shell)
		expect(t, vm, `shell on .*ttyS0; leave with poweroff or reboot`)
		vmtest.MustAnswer(t, vm, "echo $((40+2))", "42", menuLimit)
		vmtest.MustAnswer(t, vm, "cat /proc/1/comm", "init", menuLimit)
		vmtest.MustAnswer(t, vm, "readlink /proc/1/exe", "/sbin/init", menuLimit)
		vmtest.MustAnswer(t, vm, "pidof containerd kubesolo ksagent; echo services=$?", "services=1", menuLimit)
		expect(t, vm, vmtest.ShellPrompt)
		typeKeys(t, vm, "poweroff\n")
		expect(t, vm, `shutdown +done: power off`)
		vmtest.MustEnd(t, vm, "guest-shutdown", menuLimit)
	})
	t.Run("nothing is kept", func(t *testing.T) {
		disk := emptyDisk(t, "data.img", 1)
		command(t, "mkfs.ext4", "-q", "-L", "KSOLODATA", disk)
		before := hashFile(t, disk)
		config := config
		config.Name, config.Disks = "menu-nothing-kept", []vmtest.Disk{{Path: disk}}
		vm := vmtest.Run(t, config)
		choose(t, vm, normal, debug, shell, nothingKept)
		expect(t, vm, `ok +arguments: no persistence`)
		expect(t, vm, `ok +data: in memory`)
		// By then containerd has made its directories in /data.
		expect(t, vm, `service containerd: ready`)
		vm.PowerCut()
		if hashFile(t, disk) != before {
			t.Error("the data disk was written to")
		}
	})
}

// TestOtherSlot boots the disk image from its other slot, B: first by the entry
// of the menu, to which kernel arguments are added in GRUB's editor, and then
// by itself. Slot A is wiped, so that what boots can only have come from slot B.
func TestOtherSlot(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.img")
	command(t, "cp", "--sparse=always", artefact(t, "kubesolo-os-amd64.img"), disk)
	wipe(t, disk, "KSOLOA")
	config := vmtest.Config{Disks: []vmtest.Disk{{Path: disk}}, ProbeWith: artefact(t, "vmlinuz")}
	t.Run("chosen", func(t *testing.T) {
		config := config
		config.Name = "menu-other-slot"
		vm := vmtest.Run(t, config)
		highlight(t, vm, "KubeSolo OS (slot A)", "KubeSolo OS, the other slot (B)")
		typeKeys(t, vm, "e")
		expect(t, vm, `boot_slot \$other quiet`)
		// Two lines down, at the end of the line (ctrl-e), and boot (ctrl-x).
		typeKeys(t, vm, arrowDown+arrowDown+"\x05 kubesolo.hostname=edited kubesolo.shell\x18")
		expect(t, vm, `Loading KubeSolo OS from slot B`)
		expect(t, vm, `ok +arguments: slot B`)
		vmtest.MustAnswer(t, vm, "cat /proc/cmdline", `.*\bkubesolo\.slot=B\b.* kubesolo\.hostname=edited kubesolo\.shell`, menuLimit)
	})
	t.Run("fallback", func(t *testing.T) {
		config := config
		config.Name = "menu-fallback"
		vm := vmtest.Run(t, config)
		expect(t, vm, `Loading KubeSolo OS from slot A`)
		expect(t, vm, `Loading KubeSolo OS from slot B`)
		expect(t, vm, `ok +arguments: slot B`)
	})
}

// wipe overwrites the beginning of a partition with zeros: all that GRUB needs
// of a slot's squashfs to find anything in it.
func wipe(t *testing.T, disk, name string) {
	t.Helper()
	start, ok := partitionStart(t, disk, name)
	if !ok {
		t.Fatalf("%s: no partition %s", disk, name)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(make([]byte, 1<<20), start)
	if closeErr := f.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
}
