// Package bootlog is what a node remembers of its boot before: the log, why it
// ended, and what the kernel left in memory that outlives a reset.
//
// It owns the log file of a boot (Recorder), the mark that tells an orderly end
// from any other (Mark), the copy of pstore (Collect), and the verdict over all
// evidence (Judge). It is gentle to flash: lines are written in batches, the
// mark in place. It never fails a boot: what cannot be read or written is an
// error for the caller to show. Parsers are fuzzed, the recorder is tested in
// virtual time, and the whole with a real kernel in the VM tier.
package bootlog

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/klog"
)

// A boot's log is two files of at most half of this (see klog.File), so that
// this boot and the one before take 2 MiB at most.
const maxBoot = 1 << 20

const (
	current  = "boot-current.log"
	previous = "boot-previous.log"
	older    = ".1" // klog.File's first half
)

// Lines wait for so long, urgent ones for their neighbours only.
const (
	batchEvery  = 30 * time.Second
	urgentEvery = time.Second
	batchBytes  = 64 << 10
	drain       = 100 * time.Millisecond // for what is unread when it is stopped
)

// Kmsg is /dev/kmsg: a read gives one record. An *os.File opened with
// O_NONBLOCK is one.
type Kmsg interface {
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}

// Recorder writes the kernel's log of this boot to a file.
type Recorder struct {
	file *klog.File
	kmsg Kmsg
	done chan struct{}
	err  error // the first of writing; read after done

	mu       sync.Mutex // makes "stopping" and the read's deadline one
	stopping bool
}

// Rotate makes the log of the boot before out of what is there as the current
// one.
func Rotate(dir string) error {
	var errs []error
	for _, half := range []string{"", older} {
		err := os.Rename(filepath.Join(dir, current+half), filepath.Join(dir, previous+half))
		if errors.Is(err, fs.ErrNotExist) { // then the old one must not stay
			err = os.Remove(filepath.Join(dir, previous+half))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Previous are the files of the boot before, the older lines first; Current
// those of this boot.
func Previous(dir string) []string { return existing(dir, previous) }

// Current are the files of this boot, the older lines first.
func Current(dir string) []string { return existing(dir, current) }

func existing(dir, name string) (paths []string) {
	for _, half := range []string{older, ""} {
		path := filepath.Join(dir, name+half)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// Start begins to write what kmsg gives to the current log in dir.
func Start(dir string, kmsg Kmsg) (*Recorder, error) {
	file, err := klog.OpenFile(filepath.Join(dir, current), maxBoot/2)
	if err != nil {
		return nil, err
	}
	r := &Recorder{file: file, kmsg: kmsg, done: make(chan struct{})}
	go r.run()
	return r, nil
}

// Stop writes what was said up to now, and ends. The error is the first of all
// that was met when writing.
func (r *Recorder) Stop() error {
	r.mu.Lock()
	r.stopping = true
	_ = r.kmsg.SetReadDeadline(time.Now().Add(drain)) // wakes the loop
	r.mu.Unlock()
	<-r.done
	return r.err
}

// run is the whole life of the recorder: one goroutine, whose waits are reads
// with a deadline.
func (r *Recorder) run() {
	defer close(r.done)
	var batch bytes.Buffer
	var due, wrote time.Time // due is zero when nothing waits
	urgent, stopping := false, false
	buffer := make([]byte, 8<<10) // the kernel's own bound of a record
	write := func() {
		if batch.Len() > 0 {
			_, err := r.file.Write(batch.Bytes())
			if err == nil && (urgent || stopping) {
				err = r.file.Sync()
			}
			if r.err == nil {
				r.err = err
			}
			batch.Reset()
		}
		due, wrote, urgent = time.Time{}, time.Now(), false
	}
	for {
		r.mu.Lock()
		if r.stopping && !stopping {
			stopping, due = true, time.Now().Add(drain)
		}
		_ = r.kmsg.SetReadDeadline(due)
		r.mu.Unlock()
		n, err := r.kmsg.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			write()
			if stopping {
				r.end()
				return
			}
			continue
		case errors.Is(err, unix.EPIPE): // records were overwritten before they were read
			batch.WriteString("... records are missing here\n")
			continue
		case err != nil:
			write()
			r.end()
			return
		}
		record, err := ParseRecord(buffer[:n])
		if err != nil {
			continue
		}
		batch.WriteString(record.String())
		batch.WriteByte('\n')
		when := time.Now().Add(batchEvery)
		if record.Urgent() {
			urgent = true
			when = wrote.Add(urgentEvery)
		}
		switch {
		case stopping:
		case batch.Len() >= batchBytes:
			write()
		case due.IsZero() || when.Before(due):
			due = when
		}
	}
}

func (r *Recorder) end() {
	if err := r.file.Close(); r.err == nil {
		r.err = err
	}
}
