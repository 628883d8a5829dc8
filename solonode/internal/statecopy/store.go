package statecopy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/solonode/internal/recovery"
)

const (
	// Reserve is what a copy leaves free on its file system, in bytes.
	Reserve   = 64 << 20
	temporary = ".making-"
)

// Store is a directory of copies of one database.
type Store struct {
	Dir  string // made when the first copy is
	File string // the database
	Keep int    // at least 1
	Key  string // fingerprint of the service-account key, see Fingerprint
}

// Fingerprint names a service-account key without giving it away. A key that
// cannot be read is 00000000.
func Fingerprint(keyFile string) string {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return "00000000"
	}
	sum := sha256.Sum256(append([]byte("kubesolo service-account key\n"), key...))
	return hex.EncodeToString(sum[:4])
}

// List gives the copies, newest first. No directory is no copies.
func (s Store) List() ([]Copy, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("copies: %w", err)
	}
	var list []Copy
	for _, entry := range entries {
		c, ok := parseName(entry.Name())
		info, err := entry.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue
		}
		c.Size = info.Size()
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Copy) int { return cmp.Compare(b.Sequence, a.Sequence) })
	return list, nil
}

// Path of a copy.
func (s Store) Path(c Copy) string { return filepath.Join(s.Dir, c.Name) }

// Recoverable gives the copies as package recovery wants them.
func (s Store) Recoverable() ([]recovery.Copy, error) {
	list, err := s.List()
	var copies []recovery.Copy
	for _, c := range list {
		copies = append(copies, recovery.Copy{File: s.Path(c), Made: c.Made, Key: c.Key})
	}
	return copies, err
}

// Make makes a copy over an open database, checks it and removes those that
// are too many.
func (s Store) Make(ctx context.Context, db *sql.DB) (Copy, error) {
	c, err := s.make(ctx, db)
	if err != nil {
		return Copy{}, fmt.Errorf("copy of %s: %w", s.File, err)
	}
	return c, nil
}

func (s Store) make(ctx context.Context, db *sql.DB) (c Copy, err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return Copy{}, err
	}
	if err := s.removeUnfinished(); err != nil {
		return Copy{}, err
	}
	if err := s.room(); err != nil {
		return Copy{}, err
	}
	list, err := s.List()
	if err != nil {
		return Copy{}, err
	}
	sequence := 1
	if len(list) > 0 {
		sequence = list[0].Sequence + 1
	}
	made := time.Now()
	name := formatName(sequence, made, s.Key)
	unfinished := filepath.Join(s.Dir, temporary+name)
	defer func() {
		if err != nil {
			_ = os.Remove(unfinished) // the next copy tries again
		}
	}()
	if err := s.write(ctx, db, unfinished); err != nil {
		return Copy{}, err
	}
	final := filepath.Join(s.Dir, name)
	if err := os.Rename(unfinished, final); err != nil {
		return Copy{}, err
	}
	if err := recovery.SyncDir(s.Dir); err != nil {
		return Copy{}, err
	}
	info, err := os.Stat(final)
	if err != nil {
		return Copy{}, err
	}
	for _, old := range list[min(len(list), s.Keep-1):] {
		if err := os.Remove(s.Path(old)); err != nil {
			return Copy{}, err
		}
	}
	return Copy{Name: name, Sequence: sequence, Made: made.UTC().Truncate(time.Second), Key: s.Key, Size: info.Size()}, nil
}

// write fills file and puts it on the medium, which VACUUM INTO does not.
func (s Store) write(ctx context.Context, db *sql.DB, file string) error {
	// SQLite takes an empty file for a new database; made here, it is never
	// readable by others.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", file)
	if err == nil {
		err = recovery.CheckCopy(ctx, file)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func (s Store) removeUnfinished() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporary) {
			if err := os.Remove(filepath.Join(s.Dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// room refuses a copy that would bring the file system near its end: the
// database itself must be able to grow.
func (s Store) room() error {
	var size int64
	for _, file := range []string{s.File, s.File + "-wal"} {
		if info, err := os.Stat(file); err == nil {
			size += info.Size()
		}
	}
	var fsInfo unix.Statfs_t
	if err := unix.Statfs(s.Dir, &fsInfo); err != nil {
		return fmt.Errorf("%s: %w", s.Dir, err)
	}
	return enough(size, int64(fsInfo.Bavail)*fsInfo.Bsize)
}

func enough(size, free int64) error {
	if need := 2*size + Reserve; free < need {
		return fmt.Errorf("%d MB are free, a copy wants %d: twice the database and %d in reserve",
			free>>20, need>>20, int64(Reserve)>>20)
	}
	return nil
}

// InMemory tells whether a directory, or the nearest above it that exists, is
// in RAM, where a copy outlives nothing.
func InMemory(dir string) bool {
	var info unix.Statfs_t
	for unix.Statfs(dir, &info) != nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return info.Type == unix.TMPFS_MAGIC || info.Type == unix.RAMFS_MAGIC
}
