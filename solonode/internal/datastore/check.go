package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql
)

// checkLimit bounds the check. Running into it is not corruption: upstream
// took a slow SD card for a broken database and dropped its log.
const checkLimit = 10 * time.Second

// ErrCorrupt is in the chain of the error for a database that fails its check.
var ErrCorrupt = errors.New("database is corrupt")

// Check runs SQLite's quick_check on an existing database. With cfg.Repair a
// broken write-ahead log is moved aside and the check repeated.
func Check(ctx context.Context, cfg Config) error {
	if _, err := os.Stat(cfg.File); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := quickCheck(ctx, cfg.File)
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	if !cfg.Repair {
		return fmt.Errorf("%w; --db-wal-repair drops its write-ahead log", err)
	}
	cfg.Log(err.Error() + "; moving its write-ahead log aside")
	for _, suffix := range []string{"-wal", "-shm"} {
		old := cfg.File + suffix
		if err := os.Rename(old, old+".broken"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("datastore: %w", err)
		}
	}
	return quickCheck(ctx, cfg.File)
}

func quickCheck(ctx context.Context, file string) (err error) {
	// Read-only: a writer that closes a database merges its log and removes
	// it, which would destroy the evidence and what could be saved.
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return fmt.Errorf("datastore %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	limit, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	var verdict string
	err = db.QueryRowContext(limit, "PRAGMA quick_check(1)").Scan(&verdict)
	switch {
	case limit.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("datastore %s: %w: %w", file, ErrCorrupt, err)
	case verdict != "ok":
		return fmt.Errorf("datastore %s: %w: %s", file, ErrCorrupt, verdict)
	}
	return nil
}

func syncData(file string) error {
	handle, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(handle.Fd())), handle.Close())
}
