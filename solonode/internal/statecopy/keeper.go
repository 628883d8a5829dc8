package statecopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"kubesolo.io/os/solonode/internal/recovery"
)

const (
	// settle is how long a started node is left alone.
	settle = 10 * time.Minute
	// again is when a copy that could not be made is tried next.
	again = time.Hour
	// makeLimit bounds one copy; a snapshot held for hours lets the log grow.
	makeLimit = 10 * time.Minute
)

// ErrRestart ends a node that is to start anew from another database.
var ErrRestart = errors.New("ending to restore a copy")

// Keeper makes copies of a database that is open, and takes requests.
type Keeper struct {
	Store Store
	Every time.Duration // 0: on demand only
	Log   func(line string)

	mu   sync.Mutex // one copy, or one restore, at a time
	db   *sql.DB
	stop chan struct{} // closed when a restore is prepared
}

// NewKeeper makes one; Use gives it the database.
func NewKeeper(store Store, every time.Duration, log func(string)) *Keeper {
	return &Keeper{Store: store, Every: every, Log: log, stop: make(chan struct{})}
}

// Use is called when the database is open.
func (k *Keeper) Use(db *sql.DB) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.db = db
}

// Copy makes a copy now.
func (k *Keeper) Copy(ctx context.Context) (Copy, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.db == nil {
		return Copy{}, errors.New("copy: the database is not open yet")
	}
	limited, cancel := context.WithTimeout(ctx, makeLimit)
	defer cancel()
	c, err := k.Store.Make(limited, k.db)
	if recovery.Damaged(err) {
		err = errors.Join(err, recovery.Suspect(k.Store.File, err))
	}
	return c, err
}

// Check looks at the database that is open.
func (k *Keeper) Check(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.db == nil {
		return errors.New("check: the database is not open yet")
	}
	return recovery.CheckOpen(ctx, k.db, k.Store.File)
}

// Restore prepares the next start and ends this one.
func (k *Keeper) Restore(ctx context.Context, source string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := prepare(ctx, k.Store.File, source); err != nil {
		return err
	}
	k.Log("database: restoring " + source + " as asked; the node starts again")
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	return nil
}

func prepare(ctx context.Context, file, source string) error {
	if err := recovery.Stage(ctx, file, source); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := recovery.Request(file); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// Run makes copies when they are due, until ctx ends. It is to be started when
// the node is ready.
func (k *Keeper) Run(ctx context.Context) error {
	if k.Every <= 0 {
		<-ctx.Done()
		return nil
	}
	for wait := settle; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		list, err := k.Store.List()
		if err == nil {
			wait = due(list, time.Now(), k.Every)
		}
		if err != nil || wait > 0 {
			wait = max(wait, time.Minute)
			continue
		}
		begin := time.Now()
		c, err := k.Copy(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			k.Log("database: no copy: " + err.Error())
			wait = min(again, k.Every)
		default:
			k.Log(fmt.Sprintf("database: copy %s, %d kB in %.1f s", c.Name, c.Size>>10, time.Since(begin).Seconds()))
			wait = k.Every
		}
	}
}

// due is how long the next copy has time. A node that starts again and again
// must not replace all copies by recent ones; a newest copy of the future says
// that the clock was set back, and its age is not known.
func due(list []Copy, now time.Time, every time.Duration) time.Duration {
	if len(list) == 0 || list[0].Made.After(now) {
		return 0
	}
	return max(0, list[0].Made.Add(every).Sub(now))
}
