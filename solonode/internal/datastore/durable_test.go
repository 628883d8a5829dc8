package datastore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/k3s-io/kine/pkg/server"

	"kubesolo.io/os/solonode/internal/recovery"
)

func TestSyncBeginsAfterTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var began []time.Duration
		g := &groupSync{sync: func() error {
			began = append(began, time.Since(begin))
			time.Sleep(10 * time.Millisecond)
			return nil
		}}
		done := make(chan [2]time.Duration)
		for _, at := range []time.Duration{0, 1, 2, 9, 25} {
			go func() {
				time.Sleep(at * time.Millisecond)
				asked := time.Since(begin)
				if err := g.wait(); err != nil {
					t.Error(err)
				}
				done <- [2]time.Duration{asked, time.Since(begin)}
			}()
		}
		for range 5 {
			span := <-done
			covered := false
			for _, b := range began {
				covered = covered || b >= span[0] && b+10*time.Millisecond <= span[1]
			}
			if !covered {
				t.Errorf("asked at %s, answered at %s; syncs began at %v", span[0], span[1], began)
			}
		}
		if len(began) != 3 {
			t.Errorf("syncs began at %v: those at 1, 2 and 9 ms were to share one", began)
		}
	})
}

func TestSyncFailureIsForItsRoundOnly(t *testing.T) {
	broken := errors.New("medium")
	next := broken
	g := &groupSync{sync: func() error { defer func() { next = nil }(); return next }}
	if err := g.wait(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := g.wait(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestFailedSyncIsNoAnswer(t *testing.T) {
	broken := errors.New("medium")
	var ended error
	d := &durable{log: &groupSync{sync: func() error { return broken }}, fail: func(err error) { ended = err }}
	if err := d.written(nil, true); !errors.Is(err, broken) || !errors.Is(ended, broken) {
		t.Errorf("answered %v, ended by %v", err, ended)
	}
	if err := d.written(nil, false); err != nil {
		t.Errorf("nothing was written: %v", err)
	}
	exists := fmt.Errorf("key exists")
	if err := d.written(exists, true); !errors.Is(err, exists) {
		t.Errorf("got %v", err)
	}
}

// damagedBackend answers a list, and a question for the revision, with damage.
type damagedBackend struct{ server.Backend }

func (damagedBackend) ListStream(context.Context, string, string, int64, int64, bool) server.ListResult {
	kvs, errs := make(chan *server.KeyValue), make(chan error, 1)
	errs <- fmt.Errorf("list: %w", recovery.ErrDamaged)
	close(kvs)
	close(errs)
	return server.ListResult{KVc: kvs, Errorc: errs}
}

func (damagedBackend) CurrentRevision(context.Context) (int64, error) {
	return 0, recovery.ErrDamaged
}

func (damagedBackend) DbSize(context.Context) (int64, error) { return 0, recovery.ErrDamaged }

// Whatever answer meets the damage ends the store: also those that kine added later.
func TestDamageInAnyAnswerEndsTheStore(t *testing.T) {
	for name, ask := range map[string]func(*durable) error{
		"stream":   func(d *durable) error { return <-d.ListStream(t.Context(), "/", "0", 0, 0, false).Errorc },
		"revision": func(d *durable) error { _, err := d.CurrentRevision(t.Context()); return err },
		"size":     func(d *durable) error { _, err := d.DbSize(t.Context()); return err },
	} {
		var ended error
		d := &durable{Backend: damagedBackend{}, fail: func(err error) { ended = err }}
		if err := ask(d); !errors.Is(err, recovery.ErrDamaged) || !errors.Is(ended, recovery.ErrDamaged) {
			t.Errorf("%s: answered %v, ended by %v", name, err, ended)
		}
	}
}

func TestSyncOfALogThatWasMerged(t *testing.T) {
	if err := syncLog(filepath.Join(t.TempDir(), "state.db-wal")); err != nil {
		t.Error(err)
	}
}
