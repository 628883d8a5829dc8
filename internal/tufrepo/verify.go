package tufrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kubesolo.io/os/internal/update/trust"
)

// Status is what a node finds in a repository.
type Status struct {
	Root       trust.Root     `json:"root"`
	ValidUntil time.Time      `json:"validUntil"` // some of it must be signed again before
	Targets    []trust.Target `json:"targets"`    // by ascending version
}

// Verify reads the repository in dir as a node would that has the given root and the given
// time, every slot image included.
func Verify(ctx context.Context, dir string, root []byte, now time.Time) (s Status, err error) {
	scratch, err := os.MkdirTemp("", "ksimage-verify-")
	if err != nil {
		return Status{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	client, err := trust.Open(trust.Options{Dir: scratch, Root: root, Now: func() time.Time { return now }})
	if err != nil {
		return Status{}, err
	}
	src := directory(dir)
	if err := client.Refresh(ctx, src); err != nil {
		return Status{}, err
	}
	for _, target := range client.Targets() {
		if err := verifyTarget(ctx, src, target); err != nil {
			return Status{}, fmt.Errorf("%s: %w", src, err)
		}
	}
	return Status{Root: client.Root(), ValidUntil: client.ValidUntil(), Targets: client.Targets()}, nil
}

func verifyTarget(ctx context.Context, src directory, target trust.Target) error {
	f, err := src.Target(ctx, target.File(), target.Length, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != target.Length || sum != target.SHA256 {
		return fmt.Errorf("%s has %d bytes and the sha256 %s, the metadata says %d bytes: the file was changed or cut off; publish it again",
			target.File(), n, sum, target.Length)
	}
	return nil
}

// directory is the source.Source of a repository in a directory.
type directory string

func (d directory) String() string { return string(d) }

// Metadata reads a file of the metadata directory.
func (d directory) Metadata(_ context.Context, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(d), "metadata", name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", f.Name(), limit)
	}
	return data, err
}

// Target opens a file of the targets directory.
func (d directory) Target(_ context.Context, name string, _, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), "targets", name))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
