package small

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// Generous: a boot of the tiny root takes some ten seconds under emulation.
const stepLimit = 3 * time.Minute

// tinySystem builds an initramfs as the image has it, with the real ksinit and
// a root that has busybox and nothing else: no service's program is there, nor
// a module that is not listed, unless the test adds it.
func tinySystem(t *testing.T, k kernel, modules []string, add func(root string)) string {
	t.Helper()
	list, err := os.ReadFile("modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	stage := k.subset(t, append(strings.Fields(string(list)), modules...))
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(stage)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{
		"bin", "dev", "proc", "sys", "run", "tmp", "var", "data", "mnt", "home", "root", "etc/kubesolo", "etc/cni/net.d",
		"usr/local/bin", "opt/cni/bin", "etc/kubesolo-os",
	} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, repository(t), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(root, "sbin", "init"), "./cmd/ksinit")
	copyFile(t, filepath.Join(root, "sbin", "init"), filepath.Join(stage, "init"), 0o755)
	copyFile(t, "/bin/busybox", filepath.Join(root, "bin", "busybox"), 0o755)
	links := map[string]string{"bin/sh": "busybox"}
	for _, name := range []string{"poweroff", "reboot", "halt", "modprobe"} {
		links["sbin/"+name] = "init"
	}
	for _, name := range []string{"resolv.conf", "hostname", "hosts", "machine-id"} {
		links["etc/"+name] = "/run/etc/" + name
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(root, "etc/kubesolo-os/modules"), []byte("dummy\nno-such-module # named, and the boot goes on\n"), 0o644)
	writeFile(t, filepath.Join(root, "etc/kubesolo-os/build-time"), []byte("1767225600\n"), 0o644) // 2026-01-01
	writeFile(t, filepath.Join(root, "etc/kubesolo-os/sysctl"), []byte("kernel.panic = 10\n"), 0o644)
	add(root)
	run(t, root, "mksquashfs", root, filepath.Join(stage, "root.squashfs"), "-quiet", "-no-progress", "-all-root", "-comp", "gzip")
	initrd := filepath.Join(t.TempDir(), "initrd")
	pack(t, stage, initrd)
	return initrd
}

// TestKsinit boots the real ksinit and looks at every way it can end.
func TestKsinit(t *testing.T) {
	k := findKernel(t)
	initrd := tinySystem(t, k, nil, func(string) {})
	volume := configVolume(t)
	start := func(t *testing.T, lateEvents bool, arguments string) *vmtest.VM {
		return vmtest.Run(t, vmtest.Config{
			LateEvents: lateEvents,
			Kernel:     k.Image, Initrd: initrd, Memory: 512,
			// A screen too, as the image has it; the serial line is /dev/console.
			Append: "console=tty0 console=ttyS0 panic=10 printk.devkmsg=on loglevel=4 kubesolo.nopersist " + arguments,
			NIC:    &vmtest.NIC{Restrict: true},
			Disks:  []vmtest.Disk{{Path: volume, Snapshot: true}},
			// As many a board shows after its battery died.
			Extra: []string{"-rtc", "base=2011-01-01T00:00:00"},
		})
	}
	t.Run("boot and ctrl-alt-delete", func(t *testing.T) {
		vm := start(t, true, "kubesolo.hostnam=typo")
		ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
		defer cancel()
		// The port comes after the step that looks for it, as it does now and
		// then when the driver is slow; the host still hears of the whole boot.
		if _, err := vm.Expect(`ok +events\r?\n`, stepLimit); err != nil {
			t.Fatal(err)
		}
		if err := vm.PlugEvents(ctx); err != nil {
			t.Fatal(err)
		}
		for _, want := range []event.Event{
			{Type: event.Step, Name: "network", State: "ok"},
			{Type: event.Step, Name: "clock", State: "degraded", Message: "it showed 2011-01-01 00:0"},
			{Type: event.Step, Name: "clock", State: "degraded", Message: "now 2026-01-01 00:00:0"},
			{Type: event.Step, Name: "modules", State: "degraded"},
			{Type: event.Step, Name: "services", State: "degraded"},
		} {
			e, err := vm.WaitEvent(ctx, func(e event.Event) bool {
				return e.Type == want.Type && e.Name == want.Name && e.State != "started"
			})
			if err != nil {
				t.Fatal(err)
			}
			if e.State != want.State || !strings.Contains(e.Message, want.Message) {
				t.Errorf("%s is %s: %s", e.Name, e.State, e.Message)
			}
		}
		// A service that cannot start is named with its program.
		if _, err := vm.Expect(`containerd.*/usr/local/bin/containerd`, stepLimit); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"kubesolo.hostname", "no-such-module"} {
			if !strings.Contains(vm.Transcript(), want) {
				t.Errorf("the console does not name %s", want)
			}
		}
		checkVolume(t, vm.EventsSoFar())
		if err := vm.CtrlAltDelete(ctx); err != nil {
			t.Fatal(err)
		}
		vmtest.MustEnd(t, vm, "guest-reset", stepLimit)
		events := vm.EventsSoFar()
		if last := events[len(events)-1]; last.Type != event.Shutdown || last.State != "done" {
			t.Errorf("the last event is %+v", last)
		}
	})
	for command, reason := range map[string]string{"poweroff": "guest-shutdown", "reboot": "guest-reset"} {
		t.Run("shell and "+command, func(t *testing.T) {
			vm := start(t, false, "kubesolo.shell")
			vmtest.MustAnswer(t, vm, "echo shell-$((40+2))", "shell-42", stepLimit)
			// The status page was drawn on the screen, and a shell leaves it there.
			// The serial line got none of it.
			vmtest.MustAnswer(t, vm, "grep -c 'KubeSolo OS .*waiting for .*last error' /dev/vcs1", "1", stepLimit)
			if strings.Contains(vm.Transcript(), "\x1b7") || strings.Contains(vm.Transcript(), "last error  ") {
				t.Error("the status page is on the serial console")
			}
			vmtest.MustAnswer(t, vm, "touch /probe; echo wrote=$?", "wrote=1", stepLimit)
			vmtest.MustAnswer(t, vm, "i=0; while [ $i -lt 300 ]; do kill -HUP 1; kill -KILL 1; kill -STOP 1; i=$((i+1)); done; echo sent-$i", "sent-300", stepLimit)
			vmtest.MustAnswer(t, vm, "echo still-$((1+1))", "still-2", stepLimit)
			if err := vm.Type("/sbin/" + command + "\n"); err != nil {
				t.Fatal(err)
			}
			vmtest.MustEnd(t, vm, reason, stepLimit)
		})
	}
}
