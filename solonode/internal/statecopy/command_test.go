package statecopy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/solonode/internal/recovery"
)

type terminal struct {
	env Environment
	out strings.Builder
}

func (c *terminal) run(t *testing.T, words string) (string, error) {
	t.Helper()
	c.out.Reset()
	c.env.Out = &c.out
	err := Command(t.Context(), c.env, strings.Fields(words))
	return c.out.String(), err
}

func (c *terminal) must(t *testing.T, words string) string {
	t.Helper()
	out, err := c.run(t, words)
	if err != nil {
		t.Fatalf("state %s: %v\n%s", words, err, out)
	}
	return out
}

func TestCommandWithoutANode(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 3)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := &terminal{env: Environment{Store: s, Socket: filepath.Join(t.TempDir(), "none.sock")}}
	if out := c.must(t, "list"); !strings.Contains(out, "no copies in") {
		t.Error(out)
	}
	var made Copy
	if err := json.Unmarshal([]byte(c.must(t, "copy -o json")), &made); err != nil || made.Sequence != 1 {
		t.Fatalf("%+v, %v", made, err)
	}
	var list []Copy
	if err := json.Unmarshal([]byte(c.must(t, "list --output=json")), &list); err != nil || len(list) != 1 || list[0] != made {
		t.Errorf("%+v, %v", list, err)
	}
	if out := c.must(t, "list"); !strings.Contains(out, made.Name) || !strings.Contains(out, "same") {
		t.Error(out)
	}
	if out := c.must(t, "check"); strings.Count(out, ": sound") != 2 {
		t.Error(out)
	}
	db = openStore(t, s, 5)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c.env.Store.Key = "ffffffff"
	if out := c.must(t, "restore "+made.Name); !strings.Contains(out, "next start") || !strings.Contains(out, "another service-account key") {
		t.Error(out)
	}
	if err := recovery.Ensure(t.Context(), recovery.Config{File: s.File, Copies: s.Recoverable, Log: func(line string) { t.Log(line) }}); err != nil {
		t.Fatal(err)
	}
	if got := count(t, s.File); got != 3 {
		t.Errorf("%d rows after the restore", got)
	}
}

func TestCommandFindsDamage(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 3)
	c, err := s.Make(t.Context(), db)
	if err := errors.Join(err, db.Close(), os.WriteFile(s.Path(c), []byte("no database"), 0o600)); err != nil {
		t.Fatal(err)
	}
	term := &terminal{env: Environment{Store: s, Socket: filepath.Join(t.TempDir(), "none.sock")}}
	for words, want := range map[string]string{
		"check":             "1 of 2 are damaged",
		"check " + c.Name:   "1 of 1 are damaged",
		"restore " + c.Name: "not a database",
		"restore none":      "kubesolo state list",
	} {
		if out, err := term.run(t, words); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\n%s", words, err, out)
		}
	}
	if _, err := os.Stat(s.File + ".install"); err == nil {
		t.Error("a damaged copy was staged")
	}
}

// The command against a node that has the database open.
func TestCommandWithANode(t *testing.T) {
	s := newStore(t)
	db := openStore(t, s, 3)
	k := NewKeeper(s, 0, func(line string) { t.Log(line) })
	socket := filepath.Join(t.TempDir(), "run", "state.sock")
	c := &terminal{env: Environment{Store: s, Socket: socket}}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { ended <- k.Serve(ctx, socket) }()
	for {
		out, err := c.run(t, "copy") // before the database is open, and before the socket is there
		if err != nil && strings.Contains(err.Error(), "not open yet") {
			break
		}
		if err == nil && ctx.Err() != nil {
			t.Fatalf("copy: %s", out)
		}
		time.Sleep(time.Millisecond)
	}
	k.Use(db)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	c.must(t, "copy")
	if after, err := s.List(); err != nil || len(after) != min(len(list)+1, s.Keep) {
		t.Errorf("%d copies after %d, %v", len(after), len(list), err)
	}
	if out := c.must(t, "check"); !strings.Contains(out, "state.db: sound") {
		t.Error(out)
	}
	if _, err := c.run(t, "restore ./none"); err == nil {
		t.Error("restored a file that is not there")
	}
	list, err = s.List()
	if err != nil {
		t.Fatal(err)
	}
	if out := c.must(t, "restore "+list[0].Name); !strings.Contains(out, "starts again") {
		t.Error(out)
	}
	if err := <-ended; !errors.Is(err, ErrRestart) {
		t.Errorf("ended by %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.File + ".install"); err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	c := &terminal{env: Environment{Store: newStore(t)}}
	for _, words := range []string{"", "copies", "list now", "restore", "restore a b", "copy -o yaml", "copy --nope"} {
		if _, err := c.run(t, words); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", words, err)
		}
	}
	if out := c.must(t, "--help"); !strings.Contains(out, "restore NAME") || !strings.Contains(out, "--output") {
		t.Error(out)
	}
}
