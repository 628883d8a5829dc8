package mount

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// loopTries bounds the race for a free device: another process may take the
// one LOOP_CTL_GET_FREE named before we configure it.
const loopTries = 50

// LoopAttach makes file a block device and returns its path. The device keeps
// the file alive, also when its name is deleted, until LoopDetach. Direct I/O
// stays off: the file of the system root lies in the initramfs, whose pages are
// the page cache already. LOOP_CONFIGURE needs Linux 5.8.
func LoopAttach(file string, readonly bool) (dev string, err error) {
	mode := os.O_RDWR
	if readonly {
		mode = os.O_RDONLY
	}
	backing, err := os.OpenFile(file, mode, 0)
	if err != nil {
		return "", err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("loop devices (is the module loop loaded?): %w", err)
	}
	defer control.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("free loop device for %s: %w", file, err)
		}
		dev, err := loopNode(n)
		if err != nil {
			return "", err
		}
		err = loopConfigure(dev, mode, backing, file)
		if err == nil {
			return dev, nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN) {
			return "", fmt.Errorf("attach %s to %s: %w", file, dev, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", fmt.Errorf("attach %s: every free loop device was taken by others %d times: %w", file, loopTries, unix.EBUSY)
}

// loopNode makes the device node where devtmpfs does not (a namespace's /dev).
func loopNode(n int) (string, error) {
	dev := fmt.Sprintf("/dev/loop%d", n)
	if _, err := os.Stat(dev); errors.Is(err, os.ErrNotExist) {
		err := unix.Mknod(dev, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n))))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return "", fmt.Errorf("make %s: %w", dev, err)
		}
	}
	return dev, nil
}

func loopConfigure(dev string, mode int, backing *os.File, name string) error {
	f, err := os.OpenFile(dev, mode, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	cfg := unix.LoopConfig{Fd: uint32(backing.Fd())}
	if mode == os.O_RDONLY {
		cfg.Info.Flags = unix.LO_FLAGS_READ_ONLY
	}
	copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], name)
	return unix.IoctlLoopConfigure(int(f.Fd()), &cfg)
}

// LoopDetach frees a device of LoopAttach; while it is mounted the kernel
// defers that to the unmount.
func LoopDetach(dev string) error {
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return fmt.Errorf("detach %s: %w", dev, err)
	}
	return nil
}
