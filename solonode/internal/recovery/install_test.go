package recovery

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Each state that a power cut can leave is finished by the next start, with
// the new content, the old one aside and never a foreign log beside it.
func TestInstallIsFinishedAfterACut(t *testing.T) {
	const when = "20260102T030405.000Z"
	aside := brokenInfix + when
	cuts := map[string]func(file string) error{
		"before anything":   func(string) error { return nil },
		"second name given": func(file string) error { return os.Link(file, file+aside) },
		"log moved": func(file string) error {
			return errors.Join(os.Link(file, file+aside), os.Rename(file+"-wal", file+aside+"-wal"))
		},
		"new one in place":    func(file string) error { return exchange(file, file+aside) },
		"note of a suspicion": func(file string) error { return Suspect(file, errors.New("odd")) },
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.fill(t, 4, 2)
			c := n.addCopy(t, 11, time.Now())
			if err := Stage(t.Context(), n.cfg.File, c.File); err != nil {
				t.Fatal(err)
			}
			if err := writeFile(n.cfg.File+installSuffix, when); err != nil {
				t.Fatal(err)
			}
			if err := cut(n.cfg.File); err != nil {
				t.Fatal(err)
			}
			n.ensure(t)
			n.tidy(t)
			if got := n.rows(t); got != 11 {
				t.Errorf("%d rows", got)
			}
			n.cfg.File += aside
			if got := n.rows(t); got != 6 {
				t.Errorf("%d rows in the one kept aside", got)
			}
		})
	}
}

func TestUnfinishedNewFileIsNoRestore(t *testing.T) {
	n := newNode(t)
	n.fill(t, 4, 0)
	if err := os.WriteFile(n.cfg.File+newSuffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.ensure(t)
	if got := n.rows(t); got != 4 {
		t.Errorf("%d rows", got)
	}
	n.tidy(t)
}

func TestTwoBrokenOnesAreKept(t *testing.T) {
	n := newNode(t)
	c := n.addCopy(t, 1, time.Now())
	for i := range 4 {
		n.fill(t, i+2, 1)
		if err := Stage(t.Context(), n.cfg.File, c.File); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(n.cfg.File+installSuffix, fmt.Sprintf("2026010%dT030405.000Z", i+1)); err != nil {
			t.Fatal(err)
		}
		n.ensure(t)
	}
	var want []string
	for _, day := range []string{"3", "4"} {
		name := n.cfg.File + ".broken-2026010" + day + "T030405.000Z"
		want = append(want, name, name+"-wal")
	}
	if got := n.kept(t); !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kine", "state.db")
	release, err := Lock(t.Context(), file, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), file, 0); !errors.Is(err, ErrInUse) {
		t.Errorf("second: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = Lock(t.Context(), file, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestMissingFileIsNotDamage(t *testing.T) {
	err := Check(t.Context(), filepath.Join(t.TempDir(), "none.db"))
	if err == nil || Damaged(err) {
		t.Errorf("got %v", err)
	}
}
