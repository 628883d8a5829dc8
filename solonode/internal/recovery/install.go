package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	newSuffix     = ".new"     // a complete file that is to take the place
	installSuffix = ".install" // says so; holds the time for the old one's name
	brokenInfix   = ".broken-"
	keepBroken    = 2
	brokenTime    = "20060102T150405.000Z"
)

// Stage checks a copy and puts a duplicate of it beside the database, which may
// be in use. Install, or the next Ensure after Request, puts it in place.
func Stage(ctx context.Context, file, source string) error {
	if err := CheckCopy(ctx, source); err != nil {
		return err
	}
	if err := glance(ctx, source); err != nil {
		return err
	}
	fresh := file + newSuffix
	if err := copyFile(source, fresh); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return complete(ctx, fresh)
}

// Request makes the next Ensure put the staged file in place.
func Request(file string) error {
	return writeFile(file+installSuffix, time.Now().UTC().Format(brokenTime))
}

// Install puts the staged file in the place of the database, which nobody may
// have open, and keeps the old one with its log aside. Cut off at any point, it
// is finished by the next Ensure.
func Install(file string) error {
	if err := Request(file); err != nil {
		return err
	}
	return install(file)
}

// resume finishes, or begins, what Request asked for. A new file without a
// request is what a cut left of an unfinished step.
func resume(cfg Config) error {
	if _, err := os.Stat(cfg.File + installSuffix); err == nil {
		if err := install(cfg.File); err != nil {
			return err
		}
		cfg.Log("database: replaced as asked; the former one is kept as " + filepath.Base(cfg.File) + brokenInfix + "*")
		return nil
	}
	err := os.Remove(cfg.File + newSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func install(file string) error {
	text, err := os.ReadFile(file + installSuffix)
	if err != nil {
		return err
	}
	if _, err := time.Parse(brokenTime, string(text)); err != nil {
		return fmt.Errorf("%s: %w; remove it", file+installSuffix, err)
	}
	if _, err := os.Stat(file + newSuffix); err == nil {
		if err := exchange(file, file+brokenInfix+string(text)); err != nil {
			return err
		}
	}
	// Without a new file the exchange was finished before the cut.
	for _, suffix := range []string{installSuffix, ".suspect"} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	prune(file)
	return SyncDir(filepath.Dir(file))
}

// exchange is written to be repeated. The old file gets a second name, so that
// there is a database at each moment; its log must be gone before the new one
// takes the name, as SQLite would apply it to whatever file is there.
func exchange(file, aside string) error {
	if err := os.Link(file, aside); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(file+"-wal", aside+"-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(file + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// One directory, one journal: these reach the medium in this order, but
	// only ext4 says so.
	if err := SyncDir(filepath.Dir(file)); err != nil {
		return err
	}
	if err := os.Rename(file+newSuffix, file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file))
}

// prune keeps the newest broken files; the time in the name sorts them.
func prune(file string) {
	found, err := filepath.Glob(file + brokenInfix + "*")
	if err != nil {
		return
	}
	var names []string
	for _, name := range found {
		if !strings.HasSuffix(name, "-wal") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-keepBroken)] {
		_ = os.Remove(name) // only room is lost, and the next one tries again
		_ = os.Remove(name + "-wal")
	}
}
