package recovery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite" // also the "sqlite" driver of database/sql
	sqlite3 "modernc.org/sqlite/lib"
)

// checkLimit and thoroughLimit bound the two kinds of check. Running into it is not damage: upstream took a
// slow SD card for a broken database and dropped its log.
const (
	checkLimit    = 10 * time.Second
	thoroughLimit = time.Minute
)

// ErrDamaged is in the chain of the error for a database that fails its check.
var ErrDamaged = errors.New("database is damaged")

// Damaged tells whether SQLite says that the file itself is bad, or that the
// medium does not give it back. A full disk, a missing file and a lock are not
// damage.
func Damaged(err error) bool {
	if errors.Is(err, ErrDamaged) {
		return true
	}
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	switch failure.Code() {
	case sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_DATA, sqlite3.SQLITE_IOERR_CORRUPTFS:
		return true
	}
	return false
}

// open gives a pool of one connection. Options are SQLite's URI parameters.
func open(file, options string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?"+options+"&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// Check runs SQLite's quick_check on a file that may have a write-ahead log and
// may be in use. It leaves file and log as they are: a writer that closes a
// database merges its log and removes it, and with it what could be saved.
func Check(ctx context.Context, file string) error {
	return check(ctx, file, "mode=ro", quickly)
}

// checkThoroughly also compares the indexes with their tables, which
// quick_check leaves out: a store that met such a damage in use would go on to
// meet it after each start.
func checkThoroughly(ctx context.Context, file string) error {
	return check(ctx, file, "mode=ro", thoroughly)
}

// CheckCopy is Check for a file that nobody writes and that has no log. It
// makes no file beside it.
func CheckCopy(ctx context.Context, file string) error {
	return check(ctx, file, "mode=ro&immutable=1", quickly)
}

func check(ctx context.Context, file, mode string, how func(context.Context, *sql.DB, string) error) (err error) {
	db, err := open(file, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return how(ctx, db, file)
}

// CheckOpen is Check over connections that are open already.
func CheckOpen(ctx context.Context, db *sql.DB, file string) error { return quickly(ctx, db, file) }

func quickly(ctx context.Context, db *sql.DB, file string) error {
	return ask(ctx, db, file, "PRAGMA quick_check(1)", checkLimit)
}

func thoroughly(ctx context.Context, db *sql.DB, file string) error {
	return ask(ctx, db, file, "PRAGMA integrity_check(1)", thoroughLimit)
}

func ask(ctx context.Context, db *sql.DB, file, question string, atMost time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	var verdict string
	err := db.QueryRowContext(limit, question).Scan(&verdict)
	switch {
	case limit.Err() != nil:
		return ctx.Err()
	case Damaged(err):
		return fmt.Errorf("database %s: %w: %w", file, ErrDamaged, err)
	case err != nil:
		return fmt.Errorf("database %s: %w", file, err)
	case verdict != "ok":
		return fmt.Errorf("database %s: %w: %s", file, ErrDamaged, strings.ReplaceAll(verdict, "\n", " "))
	}
	return nil
}

// glance reads what opening needs: the header and the schema. kine would try
// for five minutes to open a file that is no database.
func glance(ctx context.Context, file string) (err error) {
	db, err := open(file, "mode=ro&immutable=1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var objects int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&objects)
	switch {
	case Damaged(err):
		return fmt.Errorf("database %s: %w: %w", file, ErrDamaged, err)
	case err != nil:
		return fmt.Errorf("database %s: %w", file, err)
	}
	return nil
}
