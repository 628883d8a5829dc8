package datafs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kubesolo.io/os/internal/blockdev"
)

// Disk is a block device or a file.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

const (
	markerText = "KubeSolo OS: this data partition is being formatted and holds no data yet; formatting it again is safe.\n"
	markerSize = 512
	tailSize   = 1 << 20
	chunkSize  = 1 << 20
)

func marker() []byte {
	b := make([]byte, markerSize)
	copy(b, markerText)
	return b
}

// Content is what a device holds, as far as formatting is concerned.
type Content int

// Blank is zero where it matters; Unfinished was being formatted by us; Used is
// everything else and is never written.
const (
	Used Content = iota
	Blank
	Unfinished
)

// Inspect tells whether a device of size bytes may be formatted with a template
// of templateSize bytes. It reads that area and the last MiB.
func Inspect(d io.ReaderAt, size, templateSize int64) (Content, error) {
	if size < templateSize {
		return Used, fmt.Errorf("it has %d MiB, the least is %d MiB", size>>20, templateSize>>20)
	}
	head := make([]byte, blockSize)
	if _, err := d.ReadAt(head, 0); err != nil {
		return Used, err
	}
	if bytes.Equal(head[:markerSize], marker()) {
		// s_mtime: a file system that was ever mounted is not ours to redo,
		// whatever the boot block says.
		if binary.LittleEndian.Uint32(head[1024+44:]) != 0 {
			return Used, nil
		}
		return Unfinished, nil
	}
	if sb, err := blockdev.Probe(d, size); err != nil || sb.Type != "" {
		var damaged *blockdev.DamagedError
		if errors.As(err, &damaged) {
			err = nil
		}
		return Used, err
	}
	clearTornMarker(head)
	if !isZero(head) {
		return Used, nil
	}
	for _, area := range [][2]int64{{blockSize, templateSize}, {max(size-tailSize, templateSize), size}} {
		if zero, err := zeroRange(d, area[0], area[1]); err != nil || !zero {
			return Used, err
		}
	}
	return Blank, nil
}

// clearTornMarker blanks the beginning of a marker whose write was cut.
func clearTornMarker(head []byte) {
	m := marker()
	for i := range m {
		if head[i] != m[i] {
			break
		}
		head[i] = 0
	}
}

func zeroRange(d io.ReaderAt, from, to int64) (bool, error) {
	buf := make([]byte, chunkSize)
	for from < to {
		n := min(to-from, chunkSize)
		if _, err := d.ReadAt(buf[:n], from); err != nil {
			return false, err
		}
		if !isZero(buf[:n]) {
			return false, nil
		}
		from += n
	}
	return true, nil
}

// ErrUsed is returned by Format for a device that holds something.
var ErrUsed = errors.New("the device is not empty")

// Format writes the template to an empty device. open is called twice: the
// template is proven whole before the first byte is written. See the package
// comment for the order.
func Format(d Disk, size int64, open func() (io.ReadCloser, error)) error {
	templateSize, err := verifyTemplate(open)
	if err != nil {
		return fmt.Errorf("data template: %w", err)
	}
	content, err := Inspect(d, size, templateSize)
	if err != nil {
		return err
	}
	if content == Used {
		return ErrUsed
	}
	if err := writeSync(d, marker(), 0); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	first, err := writeBody(d, templateSize, content == Unfinished, open)
	if err != nil {
		return fmt.Errorf("write data template: %w", err)
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := writeSync(d, first[markerSize:], markerSize); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	if err := writeSync(d, first[:markerSize], 0); err != nil {
		return fmt.Errorf("clear marker: %w", err)
	}
	return nil
}

func writeSync(d Disk, b []byte, off int64) error {
	if _, err := d.WriteAt(b, off); err != nil {
		return err
	}
	return d.Sync()
}

func verifyTemplate(open func() (io.ReadCloser, error)) (size int64, err error) {
	r, err := open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	hasFirst := false
	err = readTemplate(r, func(n int64) error { size = n; return nil }, func(off int64, b []byte) error {
		if off == 0 {
			hasFirst = len(b) == blockSize && isZero(b[:markerSize])
		}
		return nil
	})
	if err == nil && !hasFirst {
		err = errors.New("it has no first block, or boot code in it")
	}
	return size, err
}

// writeBody writes all but the first block and returns that. On a second try it
// also zeroes the holes: an earlier template may have had blocks there.
func writeBody(d Disk, templateSize int64, holes bool, open func() (io.ReadCloser, error)) (first []byte, err error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	at := int64(blockSize)
	fill := func(to int64) error {
		if !holes || to <= at {
			return nil
		}
		return zeroFill(d, at, to)
	}
	err = readTemplate(r, func(int64) error { return nil }, func(off int64, b []byte) error {
		if off == 0 {
			first = bytes.Clone(b)
			return nil
		}
		if off < at {
			return fmt.Errorf("record at %d is out of order", off)
		}
		if err := fill(off); err != nil {
			return err
		}
		at = off + int64(len(b))
		_, err := d.WriteAt(b, off)
		return err
	})
	if err == nil {
		err = fill(templateSize)
	}
	if err == nil && len(first) != blockSize {
		err = errors.New("it changed while it was read")
	}
	return first, err
}

// zeroFill writes zeros where there is something else.
func zeroFill(d Disk, from, to int64) error {
	zeros := make([]byte, chunkSize)
	for from < to {
		n := min(to-from, chunkSize)
		zero, err := zeroRange(d, from, from+n)
		if err != nil {
			return err
		}
		if !zero {
			if _, err := d.WriteAt(zeros[:n], from); err != nil {
				return err
			}
		}
		from += n
	}
	return nil
}
