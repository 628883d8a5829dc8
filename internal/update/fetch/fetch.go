// Package fetch brings one slot image from an update source onto the partition
// of the passive slot.
//
// It owns the order of the writes, which holds two promises. The partition is
// the old slot, untouched, until the first byte of the new one has come; from
// then on its first sector is zero, so that nothing can mount and boot it, until
// all else was written, read back from the medium and found to be what was
// signed. And a download that was cut, by the network or by the power, goes on
// where it was. It never touches any other partition, never takes the partition
// of the running slot, and decides nothing: which image, when, and what follows
// is the caller's.
//
// It is tested by power cuts at every write, sync and checkpoint, where what was
// not synced is lost in part; by real servers, files and loop devices; and by
// bits that flip.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"kubesolo.io/os/internal/update/source"
)

// What ends a fetch, beside the errors of package source.
var (
	// ErrContent: all came, and it is not what was signed.
	ErrContent = errors.New("the content is not what was signed")
	// ErrSlot: the partition cannot take the image, or did not keep it.
	ErrSlot = errors.New("the slot cannot be used")
)

// Target is what the signed metadata say of a slot image.
type Target struct {
	// Name is that of the metadata, without a hash before it.
	Name string
	// Length is in bytes.
	Length int64
	SHA256 [sha256.Size]byte
}

// File is its name in the directory of targets (consistent snapshots).
func (t Target) File() string { return hex.EncodeToString(t.SHA256[:]) + "." + t.Name }

// Options say what goes where.
type Options struct {
	Source source.Source
	Target Target
	// Device is the partition of the passive slot, or a file of its size.
	Device string
	// Size is how much of the device may be used, in bytes; 0 for all.
	Size int64
	// Running is the partition of the running slot, which is refused as Device;
	// "" if the system did not start from one.
	Running string
	// State is a file of a few kilobytes for what is known of the download
	// between two calls. Its directory must be there.
	State string
	// Progress is told the bytes that are there, out of all. It may be nil.
	Progress func(done, total int64)
	// Failed is told each error that does not end the fetch, and when it goes
	// on. It may be nil.
	Failed func(err error, wait time.Duration)
}

const (
	// bufferSize is all the memory that a fetch takes for data.
	bufferSize = 1 << 20
	// checkpoint is how many bytes a power cut can cost. Each costs two syncs.
	checkpoint = 8 << 20
)

// Fetch returns when the target is on the device, verified, when ctx ends, or
// when going on cannot help: the source's error is permanent (package source),
// the device is of no use (ErrSlot), or what came is not the target (ErrContent).
// Anything else, such as a network that is gone for a week, it waits out.
//
// A fetch that ctx ended is continued by the next call with the same target and
// device, in this boot or another. Once it has ended well, another call only
// reads what is there.
func Fetch(ctx context.Context, o Options) error {
	if err := o.fetch(ctx); err != nil {
		return fmt.Errorf("update %s: %w", o.Target.Name, err)
	}
	return nil
}

func (o Options) fetch(ctx context.Context) error {
	if o.Target.Length <= 0 {
		return fmt.Errorf("the metadata say %d bytes: %w", o.Target.Length, ErrContent)
	}
	part, size, err := openPartition(o.Device, o.Running)
	if err != nil {
		return err
	}
	defer part.Close()
	if o.Size > 0 {
		size = min(size, o.Size)
	}
	if o.Target.Length > size {
		return fmt.Errorf("it has %d bytes and %s only %d: a larger slot, or a smaller image, is needed: %w", o.Target.Length, o.Device, size, ErrSlot)
	}
	d := download{Options: o, part: part, buffer: make([]byte, bufferSize), every: checkpoint, first: firstWait}
	return d.run(ctx)
}
