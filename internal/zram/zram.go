// Package zram gives a small machine swap that is compressed memory: what a
// service or the kernel of the control plane has not touched for long takes a
// third of its place, and nothing is ever written to a disk.
//
// It owns the size (Size, pure), the header of the swap area (Header, pure) and
// the settings of one zram device. It never loads the module, never touches a
// device that is in use already, and never swaps to anything but memory. It is
// tested by tables, with util-linux reading the header, and by a real device in
// the small VM tier.
package zram

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// Size is how large the swap of a machine with so much memory is, in bytes: half
// of the memory up to 2 GiB, and none above, where everything that a node needs
// is far from filling it. Pages of idle Go programs compress to about a third.
func Size(memory int64) int64 {
	if memory > 2048*mib {
		return 0
	}
	return memory / 2 / mib * mib
}

// label is what the area is called, at most 16 bytes.
const label = "ksolo-zram"

// Header is the first page of a swap area of size bytes, as mkswap(8) writes it:
// version 1, no bad pages (union swap_header in include/linux/swap.h).
func Header(size int64, page int) []byte {
	h := make([]byte, page)
	binary.NativeEndian.PutUint32(h[1024:], 1)
	binary.NativeEndian.PutUint32(h[1028:], uint32(size/int64(page)-1)) // the last page
	copy(h[1052:1068], label)
	copy(h[page-10:], "SWAPSPACE2")
	return h
}

// ErrInUse means that somebody has set the device up already.
var ErrInUse = errors.New("is set up already")

// Start makes zram device name ("zram0") of size bytes below the sysfs and dev
// directories a swap area, and has the kernel use it before any other.
func Start(sysfs, dev, name string, size int64) error {
	at, device := filepath.Join(sysfs, "block", name), filepath.Join(dev, name)
	set := func(attribute, value string) error {
		if err := os.WriteFile(filepath.Join(at, attribute), []byte(value), 0); err != nil {
			return fmt.Errorf("zram %s: %w", attribute, err)
		}
		return nil
	}
	old, err := os.ReadFile(filepath.Join(at, "disksize"))
	if err != nil {
		return fmt.Errorf("zram: %w", err)
	}
	if strings.TrimSpace(string(old)) != "0" {
		return fmt.Errorf("zram: %s %w", device, ErrInUse)
	}
	if err := set("disksize", strconv.FormatInt(size, 10)); err != nil {
		return err
	}
	if err := write(device, Header(size, os.Getpagesize())); err != nil {
		return fmt.Errorf("zram: %w", err)
	}
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return fmt.Errorf("zram: %w", err)
	}
	// SWAP_FLAG_PREFER with the highest priority (include/linux/swap.h).
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0x8000|0x7fff, 0); errno != 0 {
		return fmt.Errorf("zram: swapon %s: %w", device, errno)
	}
	return nil
}

func write(device string, page []byte) error {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(page)
	return errors.Join(err, f.Sync(), f.Close())
}
