package statecopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/solonode/internal/recovery"
)

const key = "0123abcd"

func newStore(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	return Store{Dir: filepath.Join(dir, "copies"), File: filepath.Join(dir, "kine", "state.db"), Keep: 4, Key: key}
}

// openStore opens the database as the node does, with a table of `rows` rows.
func openStore(t *testing.T, s Store, rows int) *sql.DB {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.File), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+s.File+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS kine(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)"); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if _, err := db.Exec("INSERT INTO kine(name) VALUES(?)", fmt.Sprint("/registry/", i)); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func count(t *testing.T, file string) (rows int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM kine").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Copies are taken while another connection writes: each holds a prefix of
// what was written, from the state at its beginning on.
func TestCopiesOfADatabaseInUse(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 200)
	defer db.Close()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				if _, err := db.Exec("INSERT INTO kine(name) VALUES('more')"); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	before := 200
	for i := range 6 {
		c, err := s.Make(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(s.Path(c))
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != c.Size || c.Sequence != i+1 || c.Key != key {
			t.Errorf("%+v: %v, %v", c, info, err)
		}
		rows := count(t, s.Path(c))
		if rows < before {
			t.Errorf("copy %d has %d rows, the one before %d", i, rows, before)
		}
		before = rows
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 4 || list[0].Sequence != 6 || list[3].Sequence != 3 {
		t.Errorf("kept %+v, %v", list, err)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("directory: %v, %v", entries, err)
	}
}

func TestFailedCopyLeavesNothing(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 100)
	defer db.Close()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{temporary + "state-000001-x.db": "half", "notes.txt": "mine"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Make(ctx, db); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "notes.txt" {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestRoom(t *testing.T) {
	for _, test := range []struct {
		size, free int64
		want       bool
	}{
		{0, Reserve, true}, {0, Reserve - 1, false},
		{10 << 20, Reserve + 20<<20, true}, {10 << 20, Reserve + 20<<20 - 1, false},
	} {
		if err := enough(test.size, test.free); (err == nil) != test.want {
			t.Errorf("%d of %d: %v", test.size, test.free, err)
		}
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		made []time.Duration // before now
		want time.Duration
	}{
		"none":                   {nil, 0},
		"old":                    {[]time.Duration{7 * time.Hour}, 0},
		"recent":                 {[]time.Duration{time.Hour, 9 * time.Hour}, 5 * time.Hour},
		"made before a set back": {[]time.Duration{-time.Hour}, 0},
	} {
		var list []Copy
		for _, age := range test.made {
			list = append(list, Copy{Made: now.Add(-age)})
		}
		if got := due(list, now, 6*time.Hour); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// A day of a node, with a start anew after nine hours.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.Keep = 100
		db := openStore(t, s, 1)
		defer db.Close()
		begin := time.Now()
		for _, life := range []time.Duration{9 * time.Hour, 15 * time.Hour} {
			k := NewKeeper(s, 6*time.Hour, func(line string) { t.Log(line) })
			k.Use(db)
			ctx, cancel := context.WithTimeout(t.Context(), life)
			if err := k.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		list, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		var at []string
		for _, c := range list {
			at = append([]string{c.Made.Sub(begin).String()}, at...)
		}
		if got := strings.Join(at, " "); got != "10m0s 6h10m0s 12h10m0s 18h10m0s" {
			t.Errorf("copies at %s", got)
		}
	})
}

func TestDamageFoundByACopyIsNoted(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 5000)
	defer db.Close()
	if _, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(s.File, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(make([]byte, 8*4096), 4*4096); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // what its cache holds is sound
	k := NewKeeper(s, 0, func(line string) { t.Log(line) })
	k.Use(db)
	if _, err := k.Copy(t.Context()); !recovery.Damaged(err) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(s.File + ".suspect"); err != nil {
		t.Error(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("copies %v, %v", list, err)
	}
}

func FuzzName(f *testing.F) {
	f.Add("state-000012-20260102T030405Z-0123abcd.db")
	f.Add("state-1234567-20260102T030405Z-0123abcd.db")
	f.Add("state-000012-20260132T030405Z-0123abcd.db")
	f.Add("state--00012-20260102T030405Z-../../ab.db")
	f.Fuzz(func(t *testing.T, name string) {
		c, ok := parseName(name)
		if ok && (formatName(c.Sequence, c.Made, c.Key) != name || c.Sequence < 0 || filepath.Base(name) != name) {
			t.Errorf("%q: %+v", name, c)
		}
	})
}

func TestName(t *testing.T) {
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for sequence, name := range map[int]string{12: "state-000012-20260102T030405Z-0123abcd.db", 1234567: "state-1234567-20260102T030405Z-0123abcd.db"} {
		if got := formatName(sequence, made, key); got != name {
			t.Errorf("%s, want %s", got, name)
		}
		c, ok := parseName(name)
		if !ok || c.Sequence != sequence || !c.Made.Equal(made) || c.Key != key {
			t.Errorf("%s: %+v, %t", name, c, ok)
		}
	}
	for _, name := range []string{"", "state.db", "state-000012-20260102T030405Z-0123abcd.db.tmp", "state-12-20260102T030405Z-0123abcd.db",
		"state-000012-20260102T030405Z-0123ABCD.db", "state-000012-20260102-0123abcd.db", ".making-state-000012-20260102T030405Z-0123abcd.db"} {
		if c, ok := parseName(name); ok {
			t.Errorf("%q is a copy: %+v", name, c)
		}
	}
}
