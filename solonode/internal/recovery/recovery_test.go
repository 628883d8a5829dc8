package recovery

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const pageSize = 4096

// node is a database with its copies and what recovery said.
type node struct {
	cfg    Config
	copies []Copy
	log    []string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{cfg: Config{File: filepath.Join(t.TempDir(), "state.db"), Key: "01234567"}}
	n.cfg.Copies = func() ([]Copy, error) { return n.copies, nil }
	n.cfg.Log = func(line string) { n.log = append(n.log, line); t.Log(line) }
	return n
}

// openWAL opens a database as the store does.
func openWAL(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%.60s: %v", s, err)
		}
	}
}

func add(t *testing.T, db *sql.DB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		run(t, db, fmt.Sprintf("INSERT INTO kine(name, value) VALUES('/registry/%d', '%s')", i, strings.Repeat("x", 500)))
	}
}

const schema = "CREATE TABLE kine(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, value BLOB)"

// fill makes a database of `merged` rows in the file and `logged` more that are
// only in its log, as a power cut leaves it.
func (n *node) fill(t *testing.T, merged, logged int) {
	t.Helper()
	original := filepath.Join(t.TempDir(), "original.db")
	db := openWAL(t, original)
	run(t, db, schema, "CREATE INDEX kine_name ON kine(name)", "CREATE INDEX first_ones ON kine(value) WHERE id < 300")
	add(t, db, 0, merged)
	run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	add(t, db, merged, merged+logged)
	if logged > 0 { // the last revision was of an object that was compacted
		add(t, db, 0, 1)
		run(t, db, "DELETE FROM kine WHERE id > "+strconv.Itoa(merged+logged))
	}
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(original+suffix, n.cfg.File+suffix); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *node) addCopy(t *testing.T, rows int, made time.Time) Copy {
	t.Helper()
	c := Copy{File: filepath.Join(t.TempDir(), "copy.db"), Made: made, Key: "01234567"}
	db := openWAL(t, filepath.Join(t.TempDir(), "other.db"))
	run(t, db, schema)
	add(t, db, 0, rows)
	run(t, db, "VACUUM INTO '"+c.File+"'")
	n.copies = append([]Copy{c}, n.copies...)
	return c
}

// rows counts what a start would find.
func (n *node) rows(t *testing.T) (count int) {
	t.Helper()
	db := openWAL(t, n.cfg.File)
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM kine").Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

// overwrite puts bytes that mean nothing over part of a file.
func overwrite(t *testing.T, file string, at, length int) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, length), int64(at)); err != nil {
		t.Fatal(err)
	}
}

func (n *node) ensure(t *testing.T) {
	t.Helper()
	if err := Ensure(t.Context(), n.cfg); err != nil {
		t.Fatal(err)
	}
}

func (n *node) said(t *testing.T, want string) {
	t.Helper()
	if !slices.ContainsFunc(n.log, func(line string) bool { return strings.Contains(line, want) }) {
		t.Errorf("the log does not say %q: %q", want, n.log)
	}
}

// kept gives the broken files beside the database.
func (n *node) kept(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(n.cfg.File + ".broken-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (n *node) tidy(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(n.cfg.File))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(e.Name(), "state.db")
		if name != "" && name != "-wal" && name != "-shm" && !strings.HasPrefix(name, brokenInfix) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestNoDatabaseIsFine(t *testing.T) {
	n := newNode(t)
	n.ensure(t)
	if len(n.log) > 0 {
		t.Errorf("log %q", n.log)
	}
}

func TestUncleanEndIsCheckedAndKeepsTheLog(t *testing.T) {
	n := newNode(t)
	n.fill(t, 10, 5)
	n.ensure(t)
	n.said(t, "was not clean")
	if got := n.rows(t); got != 15 {
		t.Errorf("%d rows", got)
	}
	n.log = nil
	n.ensure(t) // rows closed it: merged, so clean
	if len(n.log) > 0 {
		t.Errorf("after a clean end: %q", n.log)
	}
}

func TestRebuildLosesNothing(t *testing.T) {
	n := newNode(t)
	n.fill(t, 400, 5)
	damageIndex(t, n)
	n.addCopy(t, 1, time.Now())
	n.ensure(t)
	n.said(t, "recovery 1, read again: still damaged")
	n.said(t, "recovery 2, rebuild: done; nothing was lost")
	if got := n.rows(t); got != 405 {
		t.Errorf("%d rows", got)
	}
	db := openWAL(t, n.cfg.File)
	add(t, db, 405, 406)
	var last, indexes int
	if err := db.QueryRow("SELECT max(id), (SELECT count(*) FROM sqlite_schema WHERE type = 'index') FROM kine").Scan(&last, &indexes); err != nil {
		t.Fatal(err)
	}
	if last != 407 || indexes != 2 {
		t.Errorf("the next revision is %d, %d indexes; want 407 after a deleted 406, 2", last, indexes)
	}
	if len(n.kept(t)) != 2 {
		t.Errorf("kept %v, want the file and its log", n.kept(t))
	}
	n.tidy(t)
}

// damageIndex overwrites the root page of an index that is not in the log.
func damageIndex(t *testing.T, n *node) {
	t.Helper()
	db, err := open(n.cfg.File, "mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var page int
	if err := db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = 'first_ones'").Scan(&page); err != nil {
		t.Fatal(err)
	}
	overwrite(t, n.cfg.File, (page-1)*pageSize, pageSize)
}

// A log that is whole for SQLite, but of another database: its pages fit
// nothing in this one.
func TestLogThatDoesNotFitIsLeftOut(t *testing.T) {
	n := newNode(t)
	n.fill(t, 400, 0)
	other := newNode(t)
	db := openWAL(t, other.cfg.File)
	run(t, db, schema)
	add(t, db, 0, 30)
	run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM kine WHERE id > 20")
	if err := copyFile(other.cfg.File+"-wal", n.cfg.File+"-wal"); err != nil {
		t.Fatal(err)
	}
	n.ensure(t)
	n.said(t, "recovery 3, without its log: done; what was written between")
	if got := n.rows(t); got != 400 {
		t.Errorf("%d rows", got)
	}
}

func TestNewestGoodCopy(t *testing.T) {
	n := newNode(t)
	n.fill(t, 400, 5)
	overwrite(t, n.cfg.File, pageSize, 40*pageSize)
	n.addCopy(t, 7, time.Now().Add(-9*time.Hour))
	n.addCopy(t, 8, time.Now().Add(-3*time.Hour))
	bad := n.addCopy(t, 9, time.Now())
	overwrite(t, bad.File, 0, 100)
	n.cfg.Key = "89abcdef"
	n.ensure(t)
	n.said(t, "recovery 2, rebuild: ")
	n.said(t, "recovery 3, without its log: ")
	n.said(t, "recovery 4, newest good copy: done; objects written in the last 3h0m0s")
	n.said(t, "another service-account key")
	if got := n.rows(t); got != 8 {
		t.Errorf("%d rows", got)
	}
	info, err := os.Stat(n.cfg.File)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	n.tidy(t)
}

func TestHeaderAndEmptyFile(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"no database": func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte("x"), 9000), 0o600) },
		"empty":       func(file string) error { return os.WriteFile(file, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if err := damage(n.cfg.File); err != nil {
				t.Fatal(err)
			}
			n.addCopy(t, 3, time.Now())
			n.ensure(t)
			if got := n.rows(t); got != 3 {
				t.Errorf("%d rows", got)
			}
		})
	}
	n := newNode(t)
	if err := os.WriteFile(n.cfg.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.ensure(t) // the first start was cut off
}

func TestNothingHelps(t *testing.T) {
	n := newNode(t)
	n.fill(t, 400, 0)
	overwrite(t, n.cfg.File, 0, 40*pageSize)
	before, err := os.ReadFile(n.cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // and at each start again
		err = Ensure(t.Context(), n.cfg)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "kubesolo state restore") {
			t.Fatalf("got %v", err)
		}
	}
	after, err := os.ReadFile(n.cfg.File)
	if err != nil || !bytes.Equal(before, after) || len(n.kept(t)) != 0 {
		t.Errorf("the file was touched (%v), kept %v", err, n.kept(t))
	}
}

// An index that lacks rows is sound for quick_check.
func TestSuspectIndexIsRebuilt(t *testing.T) {
	n := newNode(t)
	n.fill(t, 400, 0)
	db := openWAL(t, n.cfg.File)
	run(t, db, "PRAGMA writable_schema=ON",
		"UPDATE sqlite_schema SET sql = replace(sql, '300', '350') WHERE name = 'first_ones'", "PRAGMA writable_schema=RESET")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), n.cfg.File); err != nil {
		t.Fatalf("quick_check sees it: %v", err)
	}
	if err := Suspect(n.cfg.File, errors.New("met in use")); err != nil {
		t.Fatal(err)
	}
	n.ensure(t)
	n.said(t, "missing from index first_ones")
	n.said(t, "rebuild: done; nothing was lost")
	if err := checkThoroughly(t.Context(), n.cfg.File); err != nil {
		t.Error(err)
	}
	if got := n.rows(t); got != 400 {
		t.Errorf("%d rows", got)
	}
}

func TestSuspectIsCheckedOnce(t *testing.T) {
	n := newNode(t)
	n.fill(t, 3, 0)
	n.rows(t)
	if err := Suspect(n.cfg.File, errors.New("page 7 is odd")); err != nil {
		t.Fatal(err)
	}
	n.ensure(t)
	n.said(t, "page 7 is odd")
	n.log = nil
	n.ensure(t)
	if len(n.log) != 0 {
		t.Errorf("log %q", n.log)
	}
}
