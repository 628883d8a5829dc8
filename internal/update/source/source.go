// Package source reads update repositories from where they are kept: a static
// file server, a mounted medium, or an OCI registry.
//
// It owns how bytes get here, and every check that can be made on the way: that
// they are of the file and of the offset asked for, that there are as many as
// promised, and that a server which falls silent is left. It never judges what
// the bytes say: metadata and targets are signed, and package trust and the
// hash of the whole target have the last word. It never tries again by itself,
// and keeps nothing on disk.
//
// It is tested with real servers on this machine that do each thing wrong, a
// real registry, and a medium whose blocks go away while it is read.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Source is one place that updates come from.
type Source interface {
	// Metadata returns one metadata file by its name in the repository
	// ("timestamp.json", "3.root.json"). The error wraps fs.ErrNotExist when
	// there is none, and ErrLength when it is longer than limit bytes.
	Metadata(ctx context.Context, name string, limit int64) ([]byte, error)
	// Target opens the target file (name with its hash prefix, as in the
	// directory targets) of size bytes at offset. The reader gives exactly the
	// size-offset bytes from there and then io.EOF, or an error: for a file that
	// goes on, one that wraps ErrLength instead of the io.EOF.
	Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error)
	// String names the place without secrets (no user info, no query).
	String() string
}

// What can be wrong, beside fs.ErrNotExist and the errors of the network.
var (
	// ErrLength: the file has another length than the signed metadata say.
	ErrLength = errors.New("another length than promised")
	// ErrRefused: the place will not give the file, or it would have to be
	// fetched in a way that is not allowed.
	ErrRefused = errors.New("refused")
	// ErrMedium: the medium was pulled out or cannot be read.
	ErrMedium = errors.New("the medium is damaged or was taken out")
	// ErrNoResume: the server cannot go on in the middle of a file. From its
	// beginning it can be read.
	ErrNoResume = errors.New("the server cannot resume a download")
	// ErrStalled: nothing came for a while.
	ErrStalled = errors.New("stalled")
)

// Permanent reports whether asking again cannot help until somebody changes
// something: the file is not there or not as promised, or the medium is gone.
func Permanent(err error) bool {
	for _, e := range []error{fs.ErrNotExist, ErrLength, ErrRefused, ErrMedium} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// The two directories of a repository.
const (
	metadataDir = "metadata"
	targetsDir  = "targets"
)

// maxName is the longest name that every file system takes.
const maxName = 255

// checkName refuses what is not the plain name of a file: names come from
// metadata, and must not lead anywhere else.
func checkName(name string) error {
	if name == "" || len(name) > maxName || name[0] == '.' || strings.ContainsAny(name, `/\`) ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%.300q is not the name of a file: %w", name, ErrRefused)
	}
	return nil
}

func checkOffset(size, offset int64) error {
	if offset < 0 || offset > size {
		return fmt.Errorf("offset %d of %d bytes: %w", offset, size, ErrRefused)
	}
	return nil
}

// readLimited reads all, if that is at most limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLong(limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func errTooLong(limit int64) error {
	return fmt.Errorf("longer than %d bytes: %w", limit, ErrLength)
}

// exactly gives n bytes of a body that must have as many. What comes after
// them is looked for only when the caller wants more than they are: a server
// that does not end its answer must not spoil one that is complete.
type exactly struct {
	io.ReadCloser
	left int64
	err  error // what every further read gives
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.left == 0 {
		e.err = io.EOF
		var more [1]byte
		if n, _ := io.ReadFull(e.ReadCloser, more[:]); n > 0 {
			e.err = fmt.Errorf("the file goes on after its end: %w", ErrLength)
		}
		return 0, e.err
	}
	n, err := e.ReadCloser.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case err == io.EOF && e.left > 0:
		e.err = fmt.Errorf("%d bytes are missing: %w", e.left, io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF:
		e.err = err
	}
	return n, e.err
}
