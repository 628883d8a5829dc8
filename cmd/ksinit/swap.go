package main

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/zram"
)

// startSwap gives a small machine compressed memory to swap to. It comes beside
// the start of the services, which reach their peak seconds later. Pods do not
// swap: the kubelet sets their memory.swap.max to 0.
func (n *node) startSwap(ctx context.Context) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	size := zram.Size(int64(info.Totalram) * int64(info.Unit))
	if size == 0 {
		boot.Note(ctx, "none: there is memory enough")
		return nil
	}
	if err := n.loadModules("zram"); err != nil {
		return err
	}
	if err := zram.Start("/sys", "/dev", "zram0", size); err != nil && !errors.Is(err, zram.ErrInUse) {
		return err
	}
	boot.Note(ctx, "%d MiB of compressed memory", size>>20)
	// Reading a page of a program again means unpacking 1 MiB of the root image;
	// reading it out of zram, 4 KiB. And there is nothing to read ahead.
	return writeSysctls(ctx, map[string]string{"vm.swappiness": "180", "vm.page-cluster": "0"})
}
