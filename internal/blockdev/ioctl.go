package blockdev

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of linux/blkpg.h and linux/fs.h that x/sys does not have.
const (
	blkpg                = 0x1269
	blkpgResizePartition = 3

	// linux/cdrom.h
	cdromDriveStatus = 0x5326
	cdromCurrentSlot = math.MaxInt32
	cdromNoDisc      = 1
	cdromNotReady    = 3
)

// hasMedium is false only for a CD drive that says it has none: read anyway,
// each empty drive costs ten I/O errors on the console.
func hasMedium(f *os.File) bool {
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), cdromDriveStatus, cdromCurrentSlot)
	return errno != 0 || status < cdromNoDisc || status > cdromNotReady
}

// SizeOf is the size of an open block device (BLKGETSIZE64) or of a file.
func SizeOf(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Mode().IsRegular() {
		return st.Size(), nil
	}
	var size uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return 0, fmt.Errorf("size of %s: %w", f.Name(), errno)
	}
	return int64(size), nil
}

// ResizePartition tells the kernel the new bounds, in bytes, of a partition of
// the open disk. It works while the partition is mounted (BLKPG, Linux 3.6);
// the start must be the present one.
func ResizePartition(disk *os.File, number int, start, length int64) error {
	part := unix.BlkpgPartition{Start: start, Length: length, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: blkpgResizePartition, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), blkpg, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(&part)
	if errno != 0 {
		return fmt.Errorf("resize partition %d of %s: %w", number, disk.Name(), errno)
	}
	return nil
}

// RereadPartitions makes the kernel read the partition table anew (BLKRRPART);
// EBUSY while a partition is in use.
func RereadPartitions(disk *os.File) error {
	if err := unix.IoctlSetInt(int(disk.Fd()), unix.BLKRRPART, 0); err != nil {
		return fmt.Errorf("read partitions of %s again: %w", disk.Name(), err)
	}
	return nil
}
