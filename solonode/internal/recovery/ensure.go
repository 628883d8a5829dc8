package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Config says where the database is and what there is to fall back on.
type Config struct {
	File   string
	Copies func() ([]Copy, error) // newest first
	Key    string                 // fingerprint of today's service-account key
	Log    func(line string)
}

// Copy is a copy of the database that can take its place.
type Copy struct {
	File string
	Made time.Time
	Key  string // fingerprint of the service-account key at that time
}

// Ensure returns nil when there is no database yet, or one that can be opened.
func Ensure(ctx context.Context, cfg Config) error {
	if err := resume(cfg); err != nil {
		return fmt.Errorf("database %s: recovery: %w", cfg.File, err)
	}
	info, err := os.Stat(cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new node, or one that was told to begin anew
	}
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	why, suspect := suspicion(cfg.File)
	judge := func() error { return glance(ctx, cfg.File) }
	switch {
	case suspect:
		cfg.Log("database: checking all of it and its indexes: " + why)
		judge = func() error { return checkThoroughly(ctx, cfg.File) }
	case hasContent(cfg.File + "-wal"):
		cfg.Log("database: checking all of it: the end before this start was not clean")
		judge = func() error { return Check(ctx, cfg.File) }
	case info.Size() == 0:
		judge = cfg.empty
	}
	err = judge()
	if err == nil {
		return clearSuspicion(cfg.File)
	}
	if !Damaged(err) {
		return err
	}
	cfg.Log("database: " + err.Error())
	if judge() == nil {
		cfg.Log("database: recovery 1, read again: sound; going on with it")
		return clearSuspicion(cfg.File)
	}
	cfg.Log("database: recovery 1, read again: still damaged")
	return cfg.recover(ctx, err)
}

// empty judges a file without content: that of a node whose first start was
// cut off, or what is left of one that has copies.
func (cfg Config) empty() error {
	copies, err := cfg.Copies()
	if err != nil || len(copies) == 0 {
		return nil
	}
	return fmt.Errorf("database %s: %w: it is empty, and there are copies of one that was not", cfg.File, ErrDamaged)
}

// Suspect makes the next Ensure check the whole file.
func Suspect(file string, reason error) error {
	return writeFile(file+".suspect", reason.Error())
}

func suspicion(file string) (string, bool) {
	text, err := os.ReadFile(file + ".suspect")
	if err != nil {
		return "", false
	}
	return string(text), true
}

func clearSuspicion(file string) error {
	err := os.Remove(file + ".suspect")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

func hasContent(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Size() > 0
}

// writeFile makes a small file that is whole or not there after a power cut.
func writeFile(name, text string) error {
	temporary := name + ".tmp"
	if err := write(temporary, text); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

func write(name, text string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// SyncDir puts the names in a directory on the medium.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
