package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// limit of one wait; only a hang reaches it.
const limit = 10 * time.Minute

// Kernel arguments of every measured boot. loglevel=7 shows "Run /init".
const arguments = "console=ttyS0,115200 panic=10 printk.devkmsg=on loglevel=7"

// stamp matches the kernel's own time of a line.
const stamp = `\[ *(\d+\.\d+)\] `

// boots measures the way to the start of kubesolo: tiny, ours and baseline
// take turns, so that a machine that gets slower is slower for all.
func (b *bench) boots(ctx context.Context) error {
	disk, err := b.dataDisk(ctx)
	if err != nil {
		return err
	}
	var tiny, ours, oursExec, shell, shellExec []float64
	for i := range b.n {
		fmt.Fprintf(b.log, "boot %d of %d: 1 MB initramfs, ksinit, shell\n", i+1, b.n)
		start, _, err := b.measure(ctx, filepath.Join(b.dir, tinyInitrd), disk, nil)
		if err != nil {
			return err
		}
		tiny = append(tiny, start)
		start, end, err := b.measure(ctx, filepath.Join(b.build, "kubesolo-os.gz"), disk, kubesoloRuns)
		if err != nil {
			return err
		}
		ours, oursExec = append(ours, start), append(oursExec, end-start)
		start, end, err = b.measure(ctx, filepath.Join(b.dir, baselineInitrd), disk, markerSeen)
		if err != nil {
			return err
		}
		shell, shellExec = append(shell, start), append(shellExec, end-start)
	}
	note := fmt.Sprintf("median of %d", b.n)
	b.add(figure{Name: "kernel start -> init, 1 MB initramfs", Value: median(tiny), Unit: "s", Note: note})
	b.add(figure{Name: "kernel start -> ksinit", Value: median(ours), Unit: "s", Note: note})
	b.add(figure{Name: "ratio to 1 MB initramfs", Value: median(ours) / median(tiny), Unit: "x", Must: "1.50 x", Aim: "1.15 x"})
	b.add(figure{Name: "ksinit -> exec of kubesolo", Value: median(oursExec), Unit: "s", Note: note})
	b.add(figure{Name: "shell init -> exec of kubesolo", Value: median(shellExec), Unit: "s", Note: note})
	b.add(figure{Name: "shell against ksinit", Value: median(shellExec) / median(oursExec), Unit: "x faster", Must: "2 x", Aim: "5 x"})
	return nil
}

func (b *bench) config(initrd string, disk vmtest.Disk) vmtest.Config {
	return vmtest.Config{
		Name: "bench " + filepath.Base(initrd), Kernel: filepath.Join(b.build, "vmlinuz"), Initrd: initrd, Append: arguments,
		Disks: []vmtest.Disk{disk}, NIC: &vmtest.NIC{Restrict: true},
	}
}

// dataDisk is formatted by one boot: mkfs is in neither side's time.
func (b *bench) dataDisk(ctx context.Context) (string, error) {
	fmt.Fprintln(b.log, "first boot: format the data disk")
	path := filepath.Join(b.dir, "data.img")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Truncate(8 << 30); err != nil {
		return "", err
	}
	vm, err := vmtest.Start(ctx, b.config(filepath.Join(b.build, "kubesolo-os.gz"), vmtest.Disk{Path: path}), nil)
	if err != nil {
		return "", err
	}
	defer vm.PowerCut()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := vm.WaitEvent(ctx, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "running"
	}); err != nil {
		return "", err
	}
	if err := vm.CtrlAltDelete(ctx); err != nil {
		return "", err
	}
	_, err = vm.Wait(ctx)
	return path, err
}

// measure boots once and gives the seconds since the kernel's start at which
// init was started, and those that end gives.
func (b *bench) measure(ctx context.Context, initrd, disk string, end func(context.Context, *vmtest.VM) (float64, error)) (started, ended float64, err error) {
	vm, err := vmtest.Start(ctx, b.config(initrd, vmtest.Disk{Path: disk, Snapshot: true}), nil)
	if err != nil {
		return 0, 0, err
	}
	defer vm.PowerCut()
	m, err := vm.Expect(stamp+`Run /init as init process`, limit)
	if err != nil {
		return 0, 0, err
	}
	if started, err = strconv.ParseFloat(m[1], 64); err != nil || end == nil {
		return started, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended, err = end(ctx, vm)
	return started, ended, err
}

// kubesoloRuns is the time of ksinit's event; its clock and that of the
// kernel's log were seen to differ by less than 0.05 s.
func kubesoloRuns(ctx context.Context, vm *vmtest.VM) (float64, error) {
	e, err := vm.WaitEvent(ctx, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "running"
	})
	return e.Time, err
}

// markerSeen is the time of the baseline's last line.
func markerSeen(_ context.Context, vm *vmtest.VM) (float64, error) {
	m, err := vm.Expect(stamp+`baseline: exec of kubesolo`, limit)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(m[1], 64)
}
