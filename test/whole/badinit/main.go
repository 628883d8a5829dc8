// Command badinit is the init of versions that must not stay: it panics the
// kernel, or hangs it as far as the watchdog can tell. It is the whole initramfs
// of a slot image in tests of updates.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if _, err := os.Stat("/hang"); err != nil {
		fmt.Println("badinit: PID 1 ends")
		os.Exit(1) // the kernel panics
	}
	if err := startWatchdog(); err != nil {
		fmt.Println("badinit:", err)
	} else {
		fmt.Println("badinit: nobody feeds the watchdog")
	}
	for {
		time.Sleep(time.Hour) // without a timer the runtime would call it a deadlock, and end
	}
}

// startWatchdog starts the machine's watchdog with ten seconds. The names of the
// modules are in the order in which they are loaded.
func startWatchdog() error {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	modules, err := filepath.Glob("/*.ko")
	if err != nil {
		return err
	}
	for _, name := range modules {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	f, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	seconds := int32(10)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.WDIOC_SETTIMEOUT, uintptr(unsafe.Pointer(&seconds))); errno != 0 {
		return errno
	}
	_, err = f.Write([]byte{0}) // and it stays open
	return err
}
