package small

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// Harms that a boot can come to. PID 1 is frozen with its control group: no
// signal does that.
const (
	freeze = "echo 1 > /sys/fs/cgroup/init/cgroup.freeze"
	panics = "echo c > /proc/sysrq-trigger"
	none   = ":"
)

// harmed is a machine in which a script stands where kubesolo is, and does
// another harm at each boot.
type harmed struct {
	*vmtest.VM
	t      *testing.T
	disk   string
	events <-chan event.Event
}

func startHarmed(ctx context.Context, t *testing.T, c vmtest.Config, modules []string, harms ...string) *harmed {
	t.Helper()
	k := findKernel(t)
	script := "#!/bin/sh\nb=/bin/busybox\nn=$(($($b cat /var/lib/kubesolo/boots 2>/dev/null) + 1))\n" +
		"echo $n > /var/lib/kubesolo/boots\n$b sync\n$b sleep 4\ncase $n in\n"
	for i, harm := range harms {
		script += fmt.Sprintf("%d) %s ;;\n", i+1, harm)
	}
	script += "esac\nexec $b sleep 100000\n"
	c.Kernel, c.Memory, c.Reboots = k.Image, 512, true
	c.Initrd = tinySystem(t, k, modules, func(root string) {
		writeFile(t, filepath.Join(root, "usr/local/bin/kubesolo"), []byte(script), 0o755)
		writeFile(t, filepath.Join(root, "etc/kubesolo-os/engine"), []byte("solonode\n"), 0o644) // it waits for no containerd
	})
	c.Append += " console=ttyS0 panic=5 printk.devkmsg=on loglevel=4"
	disk := sparse(t, filepath.Join(t.TempDir(), "data.img"), 256<<20)
	run(t, ".", "mkfs.ext4", "-q", "-L", "KSOLODATA", disk)
	c.Disks = []vmtest.Disk{{Path: disk}}
	vm := vmtest.Run(t, c)
	return &harmed{VM: vm, t: t, disk: disk, events: vm.Events(ctx)}
}

func (h *harmed) next(match func(event.Event) bool) event.Event {
	h.t.Helper()
	for e := range h.events {
		if match(e) {
			return e
		}
	}
	h.t.Fatal("the machine ended, or nothing came in time")
	return event.Event{}
}

// expect waits for the next boot, which must say how the last one ended, and
// for the service that does its harm.
func (h *harmed) expect(state, message string) {
	h.t.Helper()
	e := h.next(func(e event.Event) bool {
		return e.Type == event.Step && e.Name == "last-boot" && e.State != "started"
	})
	h.t.Logf("%s: %s", e.State, e.Message)
	if e.State != state || !strings.HasPrefix(e.Message, message) {
		h.t.Errorf("got %s: %s; want %s: %s", e.State, e.Message, state, message)
	}
	if message == "kernel panic after " && !strings.Contains(e.Message, "not syncing: sysrq triggered crash") {
		h.t.Errorf("the reason of the panic is not in %q", e.Message)
	}
	h.next(func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "running"
	})
}

// files cuts the power and lists what is in the directory of logs.
func (h *harmed) files(ctx context.Context) string {
	h.t.Helper()
	h.PowerCut()
	if _, err := h.Wait(ctx); err != nil {
		h.t.Fatal(err)
	}
	run(h.t, ".", "sh", "-c", "e2fsck -fy "+h.disk+"; test $? -le 1") // debugfs reads no journal
	return run(h.t, ".", "debugfs", "-R", "ls -p /log", h.disk)
}

// TestLastBoot goes through the ends that a boot can have, in one machine: the
// watchdog's after PID 1 hangs, a kernel panic, a reset that nobody announced,
// and an orderly restart. Each next boot says which it was.
func TestLastBoot(t *testing.T) {
	t.Parallel() // it waits for watchdogs more than it works
	ctx, cancel := context.WithTimeout(t.Context(), 4*stepLimit)
	defer cancel()
	h := startHarmed(ctx, t, vmtest.Config{
		// A piece of memory that the kernel leaves alone, and QEMU too.
		Append: "memmap=0x100000$0x10000000 ramoops.mem_address=0x10000000 ramoops.mem_size=0x100000 ramoops.record_size=0x20000",
		Extra:  []string{"-device", "i6300esb", "-action", "watchdog=reset"},
	}, []string{"i6300esb", "ramoops"}, freeze, panics, none)
	h.expect("ok", "first boot")
	h.expect("degraded", "watchdog reset after ")
	h.expect("degraded", "kernel panic after ")
	if err := h.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	h.expect("ok", "power cut or reset after ")
	if err := h.CtrlAltDelete(ctx); err != nil {
		t.Fatal(err)
	}
	h.expect("ok", "restart after ")
	files := h.files(ctx)
	for _, want := range []string{"/boot-current.log/", "/boot-previous.log/", "/pstore-"} {
		if !strings.Contains(files, want) {
			t.Errorf("no %s in the directory of logs:\n%s", want, files)
		}
	}
	// The log of the boot that was ended in order has its end.
	if log := run(t, ".", "debugfs", "-R", "cat /log/boot-previous.log", h.disk); !strings.Contains(log, "ksinit: shutdown phase=started") {
		t.Errorf("the log of the boot before ends in:\n%s", log[max(0, len(log)-1000):])
	}
}

// TestPanicUEFI: with UEFI a panic is kept without any setting; and the software
// watchdog, the only one there, ends a PID 1 that hangs in a panic.
func TestPanicUEFI(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*stepLimit)
	defer cancel()
	h := startHarmed(ctx, t, vmtest.Config{UEFI: true}, []string{"efi-pstore"}, panics, freeze)
	h.expect("ok", "first boot")
	h.expect("degraded", "kernel panic after ")
	e := h.next(func(e event.Event) bool {
		return e.Type == event.Step && e.Name == "last-boot" && e.State != "started"
	})
	if !strings.Contains(e.Message, "Software Watchdog") {
		t.Errorf("after PID 1 hung: %s: %s", e.State, e.Message)
	}
	t.Logf("%s: %s", e.State, e.Message)
	if files := h.files(ctx); !strings.Contains(files, "/pstore-") {
		t.Errorf("no dump in the directory of logs:\n%s", files)
	}
}
