package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
)

// partition is where the image goes.
type partition interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all that was written is on the medium.
	Sync() error
	// Forget takes a range out of the page cache: what is read next comes from
	// the medium. What is not synced stays.
	Forget(offset, length int64) error
	Close() error
}

// openPartition opens the device, and says how many bytes it has. It is never
// made, and never the one of the running slot.
func openPartition(device, running string) (partition, int64, error) {
	info, err := os.Stat(device)
	if err != nil {
		return nil, 0, slotError(err)
	}
	flags := os.O_RDWR
	switch mode := info.Mode(); {
	case mode.Type() == fs.ModeDevice:
		// Not while it is mounted, or used by another of us.
		flags |= os.O_EXCL
	case !mode.IsRegular():
		return nil, 0, fmt.Errorf("%s is no partition (%v): %w", device, mode.Type(), ErrSlot)
	}
	if running != "" {
		other, err := os.Stat(running)
		if err != nil {
			return nil, 0, slotError(fmt.Errorf("running slot: %w", err))
		}
		if same(info, other) {
			return nil, 0, fmt.Errorf("%s is the slot that runs, which is never written: %w", device, ErrSlot)
		}
	}
	f, err := os.OpenFile(device, flags, 0)
	if err != nil {
		return nil, 0, slotError(err)
	}
	size, err := blockdev.SizeOf(f)
	if err == nil && flags&os.O_EXCL != 0 {
		// The kernel opens a write-protected device all the same, and fails at
		// the first write.
		var readonly int
		if readonly, err = unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err == nil && readonly != 0 {
			err = &fs.PathError{Op: "open", Path: device, Err: unix.EROFS}
		}
	}
	if err != nil {
		return nil, 0, errors.Join(slotError(err), f.Close())
	}
	return file{f}, size, nil
}

// same compares devices by number, as a device has several names.
func same(a, b fs.FileInfo) bool {
	one, ok1 := a.Sys().(*syscall.Stat_t)
	two, ok2 := b.Sys().(*syscall.Stat_t)
	if ok1 && ok2 && a.Mode().Type() == fs.ModeDevice && b.Mode().Type() == fs.ModeDevice {
		return one.Rdev == two.Rdev
	}
	return os.SameFile(a, b)
}

// slotError adds what the kernel's errors mean here.
func slotError(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = "it is write-protected"
	case errors.Is(err, unix.EBUSY):
		hint = "it is mounted or being written"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		hint = "it is not there"
	case errors.Is(err, unix.EIO):
		hint = "the medium is damaged"
	default:
		return fmt.Errorf("%w: %w", err, ErrSlot)
	}
	return fmt.Errorf("%w (%s): %w", err, hint, ErrSlot)
}

// file is a device or file that is written through the page cache. O_DIRECT
// would want everything aligned to blocks, the end of the image too, and is not
// there on every file system; this needs two advices, and is as fast.
type file struct{ *os.File }

// WriteAt also begins to write to the medium, so that a sync finds little left
// and the page cache never holds more than one checkpoint.
func (f file) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	if err == nil {
		// Only a hint: errors come from Sync.
		_ = unix.SyncFileRange(int(f.Fd()), offset, int64(n), unix.SYNC_FILE_RANGE_WRITE)
	}
	return n, err
}

// Forget takes whole pages: of one that is only in part in the range, the
// kernel would keep all.
func (f file) Forget(offset, length int64) error {
	page := int64(os.Getpagesize())
	from := offset / page * page
	to := (offset + length + page - 1) / page * page
	return unix.Fadvise(int(f.Fd()), from, to-from, unix.FADV_DONTNEED)
}
