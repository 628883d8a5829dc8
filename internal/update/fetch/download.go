package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"kubesolo.io/os/internal/update/source"
)

const (
	// headSize is how much of the image is written last.
	headSize = 4096
	// sectorSize is what every medium writes as a whole. The magic number that
	// makes a slot of the partition is in the first one.
	sectorSize = 512
)

// The waits between two tries. Many nodes lose the same server at once, so each
// waits a random part of it.
const (
	firstWait = time.Second
	lastWait  = 5 * time.Minute
)

var errMismatch = errors.New("the medium does not have what was written to it")

// download is a fetch under way.
type download struct {
	Options
	part   partition
	buffer []byte
	every  int64         // bytes between checkpoints
	first  time.Duration // wait after a failure

	done     int64
	hash     hash.Hash // of the first done bytes
	head     []byte    // the first of them
	closed   bool      // the first sector is zero
	recorded int64     // done of the last checkpoint
	verified bool      // all of it was read from the medium
}

func (d *download) run(ctx context.Context) error {
	d.reset()
	if err := d.resume(ctx); err != nil {
		return err
	}
	d.progress()
	if err := d.receiveAll(ctx); err != nil {
		return err
	}
	if sum := d.hash.Sum(nil); !bytes.Equal(sum, d.Target.SHA256[:]) {
		return errors.Join(fmt.Errorf("%s gave SHA-256 %x, want %x: %w", d.Source, sum, d.Target.SHA256, ErrContent), d.forgetRecord())
	}
	if err := d.checkpoint(); err != nil {
		return err
	}
	if !d.verified {
		err := d.readBack(ctx, d.Target.SHA256[:])
		if errors.Is(err, errMismatch) {
			err = errors.Join(fmt.Errorf("%w: %w", err, ErrSlot), d.forgetRecord())
		}
		if err != nil {
			return err
		}
	}
	return d.open()
}

// reset begins with nothing. The medium is not touched.
func (d *download) reset() {
	d.done, d.recorded, d.verified = 0, 0, false
	d.hash, d.head = sha256.New(), nil
}

// resume takes up what an earlier fetch left, if the medium has it.
func (d *download) resume(ctx context.Context) error {
	r, err := readRecord(d.State, d.Target)
	if err != nil {
		d.failed(fmt.Errorf("begin anew: %w", err), 0)
		return nil
	}
	if r == nil || r.Done == 0 {
		return nil
	}
	sum, err := hex.DecodeString(r.Sum)
	if err != nil {
		return err
	}
	d.done, d.head = r.Done, r.Head
	err = d.readBack(ctx, sum)
	if errors.Is(err, errMismatch) || errors.Is(err, ErrSlot) {
		d.failed(fmt.Errorf("begin anew: %w", err), 0)
		d.reset()
		return nil
	} else if err != nil {
		return err
	}
	d.recorded, d.verified = d.done, d.done == d.Target.Length
	return nil
}

// readBack reads the first done bytes from the medium, but for the head, and
// compares their hash.
func (d *download) readBack(ctx context.Context, sum []byte) error {
	if err := d.part.Forget(0, d.done); err != nil {
		return slotError(err)
	}
	d.hash = sha256.New()
	d.hash.Write(d.head)
	for at := int64(len(d.head)); at < d.done; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := d.buffer[:min(int64(len(d.buffer)), d.done-at)]
		if _, err := d.part.ReadAt(p, at); err != nil {
			return slotError(fmt.Errorf("read back %s at %d: %w", d.Device, at, err))
		}
		d.hash.Write(p)
		if err := d.part.Forget(at, int64(len(p))); err != nil {
			return slotError(err)
		}
		at += int64(len(p))
	}
	if got := d.hash.Sum(nil); !bytes.Equal(got, sum) {
		return fmt.Errorf("%s: %w (SHA-256 %x of the first %d bytes, want %x)", d.Device, errMismatch, got, d.done, sum)
	}
	return nil
}

// receiveAll downloads the rest, however often it is interrupted.
func (d *download) receiveAll(ctx context.Context) error {
	wait := d.first
	for d.done < d.Target.Length {
		before := d.done
		err := d.receive(ctx)
		if errors.Is(err, ErrSlot) {
			return err
		}
		// Whatever comes next, this is not to be fetched again.
		if err := d.checkpoint(); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			continue
		case source.Permanent(err) && d.done == d.Target.Length:
			return errors.Join(err, d.forgetRecord()) // it goes on after its end
		case source.Permanent(err):
			return err
		case errors.Is(err, source.ErrNoResume):
			d.reset()
		case d.done > before:
			wait = d.first
		}
		pause := wait/2 + rand.N(wait/2)
		d.failed(err, pause)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		wait = min(2*wait, lastWait)
	}
	return nil
}

// receive asks the source once.
func (d *download) receive(ctx context.Context) error {
	body, err := d.Source.Target(ctx, d.Target.File(), d.Target.Length, d.done)
	if err != nil {
		return err
	}
	defer body.Close()
	for {
		n, err := fill(body, d.buffer)
		if int64(n) > d.Target.Length-d.done {
			return fmt.Errorf("%s gives more than was asked for: %w", d.Source, source.ErrLength)
		}
		if n > 0 {
			if err := d.take(d.buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && d.done < d.Target.Length:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// fill reads until p is full or there is an error, which it gives as it is.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// take writes what came.
func (d *download) take(p []byte) error {
	if !d.closed {
		if err := d.close(); err != nil {
			return err
		}
	}
	d.hash.Write(p)
	rest, at := p, d.done
	if missing := headSize - at; missing > 0 {
		n := min(int64(len(p)), missing)
		d.head = append(d.head, p[:n]...)
		rest, at = p[n:], at+n
	}
	if err := d.write(rest, at); err != nil {
		return err
	}
	d.done += int64(len(p))
	if d.done-d.recorded >= d.every {
		if err := d.checkpoint(); err != nil {
			return err
		}
	}
	d.progress()
	return nil
}

// close makes the partition no slot, before anything in it changes.
func (d *download) close() error {
	zeros := make([]byte, min(headSize, d.Target.Length))
	n := min(len(zeros), sectorSize)
	if err := d.write(zeros[:n], 0); err != nil {
		return err
	}
	if err := d.sync(); err != nil {
		return err
	}
	d.closed = true
	return d.write(zeros[n:], int64(n))
}

// open makes it one again: the sector that does so is written alone, after all
// else is on the medium.
func (d *download) open() error {
	there := make([]byte, len(d.head))
	if err := d.readHead(there); err != nil {
		return err
	}
	if bytes.Equal(there, d.head) {
		return nil // in an earlier fetch
	}
	n := min(len(d.head), sectorSize)
	for _, step := range []struct{ from, to int }{{n, len(d.head)}, {0, n}} {
		if err := d.write(d.head[step.from:step.to], int64(step.from)); err != nil {
			return err
		}
		if err := d.sync(); err != nil {
			return err
		}
	}
	if err := d.readHead(there); err != nil {
		return err
	}
	if !bytes.Equal(there, d.head) {
		return errors.Join(fmt.Errorf("%s: %w, at its beginning: %w", d.Device, errMismatch, ErrSlot), d.close(), d.forgetRecord())
	}
	return nil
}

func (d *download) readHead(p []byte) error {
	if err := d.part.Forget(0, headSize); err != nil {
		return slotError(err)
	}
	if _, err := d.part.ReadAt(p, 0); err != nil {
		return slotError(fmt.Errorf("read back %s: %w", d.Device, err))
	}
	return nil
}

func (d *download) write(p []byte, at int64) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := d.part.WriteAt(p, at); err != nil {
		return slotError(err)
	}
	return nil
}

func (d *download) sync() error {
	if err := d.part.Sync(); err != nil {
		return slotError(err)
	}
	return nil
}

// checkpoint makes sure that what came stays, and writes that down.
func (d *download) checkpoint() error {
	if d.done == d.recorded {
		return nil
	}
	if err := d.sync(); err != nil {
		return err
	}
	if err := d.part.Forget(d.recorded, d.done-d.recorded); err != nil {
		return slotError(err)
	}
	r := record{Target: d.Target.File(), Length: d.Target.Length, Done: d.done, Head: d.head, Sum: hex.EncodeToString(d.hash.Sum(nil))}
	if err := r.write(d.State); err != nil {
		// The download is as good without it. It may be what frees the disk.
		d.failed(fmt.Errorf("a power cut would cost what was downloaded: %w", err), 0)
	}
	d.recorded = d.done
	return nil
}

// forgetRecord makes the next fetch begin anew.
func (d *download) forgetRecord() error {
	if err := os.Remove(d.State); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *download) progress() {
	if d.Progress != nil {
		d.Progress(d.done, d.Target.Length)
	}
}

func (d *download) failed(err error, wait time.Duration) {
	if d.Failed != nil {
		d.Failed(err, wait)
	}
}
