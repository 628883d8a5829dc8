package small

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// TestFailingDisk boots with a data disk whose medium fails: the errors are those
// that the kernel gets from a dying disk (EIO). The boot goes on, says so, and ends
// in order.
func TestFailingDisk(t *testing.T) {
	k := findKernel(t)
	initrd := tinySystem(t, k, nil, func(string) {})
	for name, c := range map[string]struct {
		rules      string // of QEMU's blkdebug
		step, says string // the step that is degraded by it
		written    bool
	}{
		"nothing can be read":    {rules: "inject-error.0.event=read_aio", step: "data", says: "input/output error); and no disk is blank; the node runs from memory"},
		"nothing can be written": {rules: "inject-error.0.event=write_aio", step: "data", says: "input/output error; the node runs from memory, no file there was touched"},
		"it fails once it is mounted": {rules: "set-state.0.event=flush_to_disk,set-state.0.state=1,set-state.0.new_state=2,inject-error.0.event=write_aio,inject-error.0.state=2",
			step: "machine-id", says: "write /data/ksinit/machine-id", written: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // one processor is what such a boot uses
			disk := sparse(t, filepath.Join(t.TempDir(), "data.img"), 256<<20)
			run(t, ".", "mkfs.ext4", "-q", "-L", "KSOLODATA", disk)
			before := run(t, ".", "sha256sum", disk)
			vm := vmtest.Run(t, vmtest.Config{
				Kernel: k.Image, Initrd: initrd, Memory: 512,
				Append: "console=ttyS0 panic=10 printk.devkmsg=on loglevel=4",
				Extra: []string{"-blockdev", "driver=file,node-name=file0,filename=" + disk,
					"-blockdev", "driver=blkdebug,node-name=fails0,image=file0," + c.rules + ",inject-error.0.errno=5",
					"-blockdev", "driver=raw,node-name=raw0,file=fails0",
					"-device", "virtio-blk-pci,drive=raw0,werror=report,rerror=report"},
			})
			ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
			defer cancel()
			e, err := vm.WaitEvent(ctx, func(e event.Event) bool {
				return e.Type == event.Step && e.Name == c.step && e.State != "started"
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %s", e.State, e.Message)
			if e.State != "degraded" || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Message, "input/output error") {
				t.Errorf("the step %s is %s: %s", e.Name, e.State, e.Message)
			}
			if _, err := vm.Expect(`ok +boot: \d+ steps`, stepLimit); err != nil {
				t.Fatal(err)
			}
			if err := vm.CtrlAltDelete(ctx); err != nil {
				t.Fatal(err)
			}
			vmtest.MustEnd(t, vm, "guest-reset", stepLimit)
			if after := run(t, ".", "sha256sum", disk); (after != before) != c.written {
				t.Errorf("the disk was written to: %v", after != before)
			}
		})
	}
}
