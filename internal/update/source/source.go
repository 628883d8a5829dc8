// Package source reads update repositories from where they are: a web server, an
// OCI registry, a USB medium.
//
// It owns how files of a repository are named and read in each of these places. It
// never judges what it reads: signatures, hashes and versions are checked by package
// trust. Tested with real servers and directories.
package source

import (
	"context"
	"io"
)

// Source is one place that updates come from.
type Source interface {
	// Metadata returns one metadata file by its name in the repository ("timestamp.json", "3.root.json").
	// fs.ErrNotExist when there is none; an error when it is longer than limit bytes.
	Metadata(ctx context.Context, name string, limit int64) ([]byte, error)
	// Target opens the target file (name with its hash prefix as in the targets directory) at offset, size bytes in all.
	Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error)
	// String names the place without secrets (no user info, no query).
	String() string
}
