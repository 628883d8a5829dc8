package tufrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"kubesolo.io/os/internal/update/source"
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
	src := source.Directory{Medium: dir, Dir: "."}
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

func verifyTarget(ctx context.Context, src source.Source, target trust.Target) error {
	f, err := src.Target(ctx, target.File(), target.Length, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != target.SHA256 {
		return fmt.Errorf("%s has the sha256 %s: the file was changed; publish it again", target.File(), sum)
	}
	return nil
}
