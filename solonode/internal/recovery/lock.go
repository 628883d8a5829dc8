package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is in the chain of the error for a database that another process
// works on.
var ErrInUse = errors.New("in use by another process")

// Lock keeps other processes from recovering or using the database; it ends
// with the process at the latest. It makes the
// directory, and waits for at most the given time.
func Lock(ctx context.Context, file string, wait time.Duration) (release func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return lock.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("database %s: lock: %w", file, err), lock.Close())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-limit.Done():
			return nil, errors.Join(fmt.Errorf("database %s: %w", file, ErrInUse), lock.Close())
		}
	}
}
