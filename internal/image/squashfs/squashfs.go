// Package squashfs packs trees with mksquashfs and reads back what it packed.
//
// It owns the options that make images small and the same bytes every time. The tree is
// handed over as a tar stream, so neither root nor a staging directory is needed. Tested
// with the real mksquashfs and unsquashfs.
package squashfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

// Options choose how a tree is packed.
type Options struct {
	// Level is zstd's compression level, 1 to 22.
	Level int
	// Block is the size of a data block as mksquashfs writes it ("256K"): larger is smaller
	// on disk, and dearer for every page that is read.
	Block string
	// Stored keeps everything uncompressed: for images that GRUB reads (its squash4 knows
	// no zstd) and that hold compressed files anyway.
	Stored bool
}

// Cat returns the content of the file name in a squashfs image.
func Cat(ctx context.Context, run *tool.Runner, image, name string) ([]byte, error) {
	text, err := run.Output(ctx, tool.Command{Name: "unsquashfs", Args: []string{"-cat", image, name}})
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", name, image, err)
	}
	return text, nil
}

// Pack writes t as a squashfs image to the file out.
func Pack(ctx context.Context, run *tool.Runner, t *tree.Tree, out string, o Options) error {
	// Written beside and renamed: an interrupted build leaves no half image. mksquashfs
	// appends to a file that exists.
	part := out + ".part"
	if err := os.Remove(part); err != nil && !os.IsNotExist(err) {
		return err
	}
	epoch := strconv.FormatInt(run.Epoch().Unix(), 10)
	args := []string{"-", part, "-tar", "-quiet", "-no-progress", "-no-xattrs", "-no-exports", "-all-root",
		"-root-mode", "0755", "-mkfs-time", epoch, "-all-time", epoch}
	if o.Stored {
		args = append(args, "-comp", "gzip", "-noI", "-noD", "-noF", "-noX")
	} else {
		args = append(args, "-comp", "zstd", "-Xcompression-level", strconv.Itoa(o.Level), "-b", o.Block)
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(t.WriteTar(pw, run.Epoch())) }() // nil reads as EOF
	// mksquashfs refuses its own time options when SOURCE_DATE_EPOCH is set.
	err := run.Run(ctx, tool.Command{Name: "mksquashfs", Args: args, Unset: []string{"SOURCE_DATE_EPOCH"}, Stdin: pr})
	pr.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return fmt.Errorf("squashfs %s: %w", out, err)
	}
	return os.Rename(part, out)
}
