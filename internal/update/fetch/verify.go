package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// The superblock of squashfs, little-endian: the magic number, and the bytes that
// the file system has (Documentation/filesystems/squashfs.rst, bytes_used).
const (
	squashfsMagic = "hsqs"
	squashfsUsed  = 40
	squashfsHead  = 96
)

// Verify reads a slot from its medium, and gives an error unless it holds the
// target. Of one whose Length is 0, nothing is known but what the slot says itself:
// that it is one (a fetch that did not end left it none), ends within the device,
// and can be read to its end.
func Verify(ctx context.Context, device string, t Target) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("slot: %w", slotError(err))
	}
	if err := verify(ctx, file{f}, t); err != nil {
		return fmt.Errorf("slot %s: %w", device, errors.Join(err, f.Close()))
	}
	return f.Close()
}

func verify(ctx context.Context, f file, t Target) error {
	length := t.Length
	if length == 0 {
		var err error
		if length, err = squashfsLength(f); err != nil {
			return err
		}
	}
	h, buffer := sha256.New(), make([]byte, bufferSize)
	for at := int64(0); at < length; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := buffer[:min(int64(len(buffer)), length-at)]
		// Before, so that it is not what was only remembered, and after, so that
		// what pods have in the page cache stays there.
		if err := f.Forget(at, int64(len(p))); err != nil {
			return slotError(err)
		}
		if _, err := f.ReadAt(p, at); err != nil {
			return slotError(fmt.Errorf("read at %d: %w", at, err))
		}
		if err := f.Forget(at, int64(len(p))); err != nil {
			return slotError(err)
		}
		h.Write(p)
		at += int64(len(p))
	}
	if sum := h.Sum(nil); t.Length > 0 && !bytes.Equal(sum, t.SHA256[:]) {
		return fmt.Errorf("%w any more (SHA-256 %x of the first %d bytes, want %x): install it anew: %w", ErrContent, sum, length, t.SHA256, ErrSlot)
	}
	return nil
}

// squashfsLength is how much of a slot its own superblock claims.
func squashfsLength(f file) (int64, error) {
	if err := f.Forget(0, squashfsHead); err != nil {
		return 0, slotError(err)
	}
	head := make([]byte, squashfsHead)
	if _, err := f.ReadAt(head, 0); err != nil {
		return 0, slotError(fmt.Errorf("read at 0: %w", err))
	}
	used := binary.LittleEndian.Uint64(head[squashfsUsed:])
	if !bytes.HasPrefix(head, []byte(squashfsMagic)) || used < squashfsHead || used > 1<<62 {
		return 0, fmt.Errorf("there is no complete system in it: %w", ErrSlot)
	}
	return int64(used), nil
}
