package small

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// faults stands where kubesolo is, and does another harm at each boot. Its own
// control group is another than PID 1's, which it freezes: no signal does that.
const faults = `#!/bin/sh
b=/bin/busybox
n=$(($($b cat /var/lib/kubesolo/boots 2>/dev/null) + 1))
echo $n > /var/lib/kubesolo/boots
$b sync
$b sleep 4
case $n in
1) echo 1 > /sys/fs/cgroup/init/cgroup.freeze ;;
2) echo c > /proc/sysrq-trigger ;;
esac
exec $b sleep 100000
`

// TestLastBoot goes through every end that a boot can have, in one machine: the
// watchdog's after PID 1 hangs, a kernel panic, a reset that nobody announced,
// and an orderly restart. Each next boot says which it was.
func TestLastBoot(t *testing.T) {
	k := findKernel(t)
	initrd := tinySystem(t, k, []string{"i6300esb", "ramoops"}, func(root string) {
		writeFile(t, filepath.Join(root, "usr/local/bin/kubesolo"), []byte(faults), 0o755)
		writeFile(t, filepath.Join(root, "etc/kubesolo-os/engine"), []byte("solonode\n"), 0o644) // it waits for no containerd
	})
	disk := sparse(t, filepath.Join(t.TempDir(), "data.img"), 256<<20)
	run(t, ".", "mkfs.ext4", "-q", "-L", "KSOLODATA", disk)
	vm := vmtest.Run(t, vmtest.Config{
		Kernel: k.Image, Initrd: initrd, Memory: 512, Reboots: true,
		Append: "console=ttyS0 panic=5 printk.devkmsg=on loglevel=4 " +
			// A piece of memory that the kernel leaves alone, and QEMU too.
			"memmap=0x100000$0x10000000 ramoops.mem_address=0x10000000 ramoops.mem_size=0x100000 ramoops.record_size=0x20000",
		Disks: []vmtest.Disk{{Path: disk}},
		Extra: []string{"-device", "i6300esb", "-action", "watchdog=reset"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*stepLimit)
	defer cancel()
	boots := vm.Events(ctx)
	next := func() event.Event {
		t.Helper()
		for {
			select {
			case e, ok := <-boots:
				if !ok {
					t.Fatal("the machine ended")
				}
				if e.Type == event.Step && e.Name == "last-boot" && e.State != "started" {
					return e
				}
			case <-ctx.Done():
				t.Fatal("no boot more")
			}
		}
	}
	harm := func() {
		t.Helper()
		for e := range boots {
			if e.Type == event.Service && e.Name == "kubesolo" && e.State == "running" {
				return
			}
		}
		t.Fatal("the machine ended")
	}
	for _, want := range []struct{ state, message string }{
		{"ok", "first boot"},
		{"degraded", "watchdog reset after "},
		{"degraded", "kernel panic after "},
		{"degraded", "power cut or reset after "},
		{"ok", "restart after "},
	} {
		e := next()
		if e.State != want.state || !strings.HasPrefix(e.Message, want.message) {
			t.Errorf("got %s: %s; want %s: %s", e.State, e.Message, want.state, want.message)
		}
		t.Logf("%s: %s", e.State, e.Message)
		switch want.message {
		case "kernel panic after ":
			if !strings.Contains(e.Message, "not syncing: sysrq triggered crash") {
				t.Errorf("the reason of the panic is not in %q", e.Message)
			}
			harm()
			if err := vm.Reset(ctx); err != nil {
				t.Fatal(err)
			}
		case "power cut or reset after ":
			harm()
			if err := vm.CtrlAltDelete(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	vm.PowerCut()
	if _, err := vm.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, ".", "sh", "-c", "e2fsck -fy "+disk+"; test $? -le 1") // debugfs reads no journal
	logs := run(t, ".", "debugfs", "-R", "ls -p /log", disk)
	for _, want := range []string{"/boot-current.log/", "/boot-previous.log/", "/pstore-"} {
		if !strings.Contains(logs, want) {
			t.Errorf("no %s in the directory of logs:\n%s", want, logs)
		}
	}
	// The log of the boot that was ended in order has its end.
	if log := run(t, ".", "debugfs", "-R", "cat /log/boot-previous.log", disk); !strings.Contains(log, "ksinit: shutdown phase=started") {
		t.Errorf("the log of the boot before ends in:\n%s", log[max(0, len(log)-1000):])
	}
}
