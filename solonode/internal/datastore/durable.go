package datastore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/k3s-io/kine/pkg/server"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/solonode/internal/recovery"
)

// durable answers a write when it is on the medium, and ends the store when
// the file turns out to be damaged or the medium fails.
type durable struct {
	server.Backend
	log  *groupSync
	fail func(error) // ends the store; the first call counts
}

func (d *durable) written(err error, changed bool) error {
	if err == nil && changed {
		if err = d.log.wait(); err != nil {
			err = fmt.Errorf("write to the medium: %w", err)
			d.fail(err)
		}
		return err
	}
	return d.seen(err)
}

func (d *durable) seen(err error) error {
	if recovery.Damaged(err) {
		d.fail(err)
	}
	return err
}

func (d *durable) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	revision, err := d.Backend.Create(ctx, key, value, lease)
	return revision, d.written(err, true)
}

func (d *durable) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *server.KeyValue, bool, error) {
	now, kv, changed, err := d.Backend.Update(ctx, key, value, revision, lease)
	return now, kv, changed, d.written(err, changed)
}

func (d *durable) Delete(ctx context.Context, key string, revision int64) (int64, *server.KeyValue, bool, error) {
	now, kv, changed, err := d.Backend.Delete(ctx, key, revision)
	return now, kv, changed, d.written(err, changed)
}

func (d *durable) Get(ctx context.Context, key string, revision int64, keysOnly bool) (int64, *server.KeyValue, error) {
	now, kv, err := d.Backend.Get(ctx, key, revision, keysOnly)
	return now, kv, d.seen(err)
}

func (d *durable) List(ctx context.Context, key, end string, limit, revision int64, keysOnly bool) (int64, []*server.KeyValue, error) {
	now, list, err := d.Backend.List(ctx, key, end, limit, revision, keysOnly)
	return now, list, d.seen(err)
}

func (d *durable) ListStream(ctx context.Context, key, end string, limit, revision int64, keysOnly bool) server.ListResult {
	result := d.Backend.ListStream(ctx, key, end, limit, revision, keysOnly)
	given, errs := result.Errorc, make(chan error, 1)
	result.Errorc = errs
	go func() {
		defer close(errs)
		if err, ok := <-given; ok { // closed with the end of the list
			errs <- d.seen(err)
		}
	}()
	return result
}

func (d *durable) CurrentRevision(ctx context.Context) (int64, error) {
	now, err := d.Backend.CurrentRevision(ctx)
	return now, d.seen(err)
}

func (d *durable) DbSize(ctx context.Context) (int64, error) {
	size, err := d.Backend.DbSize(ctx)
	return size, d.seen(err)
}

func (d *durable) Count(ctx context.Context, key, end string, revision int64) (int64, int64, error) {
	now, count, err := d.Backend.Count(ctx, key, end, revision)
	return now, count, d.seen(err)
}

func (d *durable) Compact(ctx context.Context, revision int64) (int64, error) {
	now, err := d.Backend.Compact(ctx, revision)
	return now, d.seen(err)
}

// groupSync runs one sync at a time. Those who ask while one is running share
// the next: theirs may have been written after the running one began.
type groupSync struct {
	sync func() error

	mu      sync.Mutex
	next    *syncRound
	running bool
}

type syncRound struct {
	done chan struct{}
	err  error // set before done is closed
}

// wait returns when everything written before the call is on the medium.
func (g *groupSync) wait() error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &syncRound{done: make(chan struct{})}
	}
	round := g.next
	if !g.running {
		g.running = true
		go g.run()
	}
	g.mu.Unlock()
	<-round.done
	return round.err
}

func (g *groupSync) run() {
	for {
		g.mu.Lock()
		round := g.next
		g.next = nil
		if round == nil {
			g.running = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		round.err = g.sync()
		close(round.done)
	}
}

// syncLog puts the log on the medium. The file is opened anew as SQLite may
// have replaced it; one that is gone was merged into the database, which SQLite
// syncs first.
func syncLog(file string) error {
	log, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(log.Fd())), log.Close())
}
