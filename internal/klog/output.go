package klog

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
)

// maxLine bounds one line of a service; a longer one is broken up.
const maxLine = 8 << 10

// Tail remembers the last lines of an output.
type Tail struct {
	mu    sync.Mutex
	lines []string
	max   int
}

// NewTail makes a Tail of the last max lines.
func NewTail(max int) *Tail { return &Tail{max: max} }

// Add appends one line.
func (t *Tail) Add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == t.max {
		copy(t.lines, t.lines[1:])
		t.lines = t.lines[:t.max-1]
	}
	t.lines = append(t.lines, line)
}

// Lines are those remembered, oldest first.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.lines...)
}

// Copy reads lines from r until its end, remembers each in tail and writes it
// to w. An error of w is returned at the end; reading goes on, because a
// service whose pipe is full would stand still.
func Copy(w io.Writer, tail *Tail, r io.Reader) error {
	var failed error
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		chunk, err := lines.ReadSlice('\n')
		if len(chunk) > 0 {
			tail.Add(strings.TrimRight(string(chunk), "\r\n"))
			if _, werr := w.Write(chunk); werr != nil {
				failed = werr
			}
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return failed
		default:
			return err
		}
	}
}

// File is a log file of bounded size: when it would grow over max bytes it is
// renamed to path.1, replacing the one before, so that both together never
// take more than twice max.
type File struct {
	mu   sync.Mutex
	path string
	max  int64
	f    *os.File
	size int64
}

// OpenFile opens path for appending, and makes it if need be.
func OpenFile(path string, max int64) (*File, error) {
	l := &File{path: path, max: max}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *File) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends b, in one file.
func (l *File) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, os.ErrClosed
	}
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *File) rotate() error {
	err := l.f.Close()
	l.f = nil
	return errors.Join(err, os.Rename(l.path, l.path+".1"), l.open())
}

// Close closes the file; later writes fail with os.ErrClosed.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Sync waits until what was written is on the disk.
func (l *File) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return os.ErrClosed
	}
	return l.f.Sync()
}
