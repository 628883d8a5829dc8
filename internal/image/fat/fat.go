// Package fat makes FAT file systems in files with mtools, the same bytes every time.
//
// It owns their geometry, serial numbers and times. It never mounts anything. Tested
// with the real mtools and fsck.fat.
package fat

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/tool"
)

// Options describe the file system.
type Options struct {
	Size   int64  // bytes
	Label  string // at most 11 characters, upper case
	Serial uint32
	FAT32  bool // FAT16 or FAT12 by size otherwise
}

// File is one file to store.
type File struct {
	Path string // in the file system
	Host string
}

// Make creates the file out as a FAT file system with the files.
func Make(ctx context.Context, run *tool.Runner, out string, o Options, files []File) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	err = f.Truncate(o.Size)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	args := []string{"-i", out, "-v", o.Label, "-N", fmt.Sprintf("%08x", o.Serial),
		"-T", fmt.Sprint(o.Size / 512), "-h", "64", "-s", "32"}
	if o.FAT32 {
		args = append(args, "-F")
	}
	if err := run.Run(ctx, command("mformat", append(args, "::")...)); err != nil {
		return fmt.Errorf("fat %s: %w", out, err)
	}
	made := map[string]bool{}
	for _, file := range files {
		if err := makeParents(ctx, run, out, path.Dir(file.Path), made); err != nil {
			return fmt.Errorf("fat %s: %w", out, err)
		}
		// mcopy -m keeps the file's time: a copy with the build's time is what is stored.
		copied := out + ".file"
		data, err := os.ReadFile(file.Host)
		if err != nil {
			return err
		}
		if err := os.WriteFile(copied, data, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(copied, run.Epoch(), run.Epoch()); err != nil {
			return err
		}
		if err := run.Run(ctx, command("mcopy", "-m", "-i", out, copied, "::"+file.Path)); err != nil {
			return fmt.Errorf("fat %s: %s: %w", filepath.Base(out), file.Path, err)
		}
		if err := os.Remove(copied); err != nil {
			return err
		}
	}
	return nil
}

func makeParents(ctx context.Context, run *tool.Runner, out, dir string, made map[string]bool) error {
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		if part == "." || part == "" {
			continue
		}
		at = path.Join(at, part)
		if made[at] {
			continue
		}
		made[at] = true
		if err := run.Run(ctx, command("mmd", "-i", out, "::"+at)); err != nil {
			return err
		}
	}
	return nil
}

func command(name string, args ...string) tool.Command {
	// Without this mtools refuses sizes that do not fit a floppy's or an old disk's geometry.
	return tool.Command{Name: name, Args: args, Env: []string{"MTOOLS_SKIP_CHECK=1"}}
}
