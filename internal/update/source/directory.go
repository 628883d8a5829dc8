package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Directory is a repository on a mounted medium. The medium is not trusted:
// what leads away from it, and what is no plain file, is refused. It is held
// open only while a file is read, so that it can be unmounted at other times.
type Directory struct {
	// Medium is where it is mounted.
	Medium string
	// Dir is the directory on it that has metadata and targets, "." for its top.
	Dir string
}

var _ Source = Directory{}

// String is the directory's path.
func (d Directory) String() string { return filepath.Join(d.Medium, d.Dir) }

// Metadata reads metadata/name.
func (d Directory) Metadata(ctx context.Context, name string, limit int64) ([]byte, error) {
	f, size, err := d.open(ctx, metadataDir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %w", f.file.Name(), errTooLong(limit))
	}
	return readLimited(f, limit)
}

// Target opens targets/name at offset.
func (d Directory) Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error) {
	f, length, err := d.open(ctx, targetsDir, name)
	if err != nil {
		return nil, err
	}
	err = checkOffset(size, offset)
	if err == nil && length != size {
		err = fmt.Errorf("it has %d bytes, not %d: %w", length, size, ErrLength)
	}
	if err == nil {
		_, err = f.file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.file.Name(), err), f.Close())
	}
	f.left = size - offset
	return f, nil
}

// open gives the plain file and its length. os.Root stops at links that lead
// out of the medium. What is no file is not even opened, as pipes and devices
// act on that.
func (d Directory) open(ctx context.Context, dir, name string) (*mediumFile, int64, error) {
	if err := checkName(name); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", d, err)
	}
	root, err := os.OpenRoot(d.Medium)
	if err != nil {
		return nil, 0, mediumError(err)
	}
	defer root.Close()
	file := path.Join(d.Dir, dir, name)
	info, err := root.Stat(file)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", d.Medium, mediumError(err))
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: it is not a file (%v): %w", filepath.Join(d.Medium, file), info.Mode().Type(), ErrRefused)
	}
	f, err := root.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", d.Medium, mediumError(err))
	}
	return &mediumFile{file: f, ctx: ctx, left: info.Size()}, info.Size(), nil
}

// mediumFile turns the ways in which a pulled medium shows into one error.
type mediumFile struct {
	file *os.File
	ctx  context.Context
	left int64 // bytes until its end
}

func (m *mediumFile) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.file.Read(p)
	m.left -= int64(n)
	if err == io.EOF && m.left > 0 {
		return n, fmt.Errorf("%s: it ends %d bytes early: %w", m.file.Name(), m.left, ErrMedium)
	}
	return n, mediumError(err)
}

func (m *mediumFile) Close() error { return m.file.Close() }

// mediumError adds what errors of a medium that is gone mean, and that a link
// which leads out of it (an error of os without a number) or loops is refused.
func mediumError(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		var inPath *os.PathError
		if errors.As(err, &inPath) {
			return fmt.Errorf("%w: %w", err, ErrRefused)
		}
		return err
	}
	switch errno {
	case unix.EIO, unix.ENODEV, unix.ENXIO, unix.ENOMEDIUM, unix.EREMOTEIO, unix.ESTALE, unix.ESHUTDOWN, unix.EBADMSG, unix.EUCLEAN:
		return fmt.Errorf("%w: %w", err, ErrMedium)
	case unix.ELOOP, unix.ENOTDIR, unix.EACCES, unix.EPERM:
		return fmt.Errorf("%w: %w", err, ErrRefused)
	}
	return err
}
