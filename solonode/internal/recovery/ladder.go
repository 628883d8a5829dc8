package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// step is one way to a good file. It leaves the result in cfg.File + ".new".
type step struct {
	name string
	do   func(ctx context.Context) (lost string, err error)
}

// recover tries the steps after the first in order and puts the first result in place.
func (cfg Config) recover(ctx context.Context, damage error) error {
	// The note keeps later starts from opening a file that lost its log here.
	if err := Suspect(cfg.File, damage); err != nil {
		return fmt.Errorf("database %s: recovery: %w", cfg.File, err)
	}
	defer cfg.removeWork()
	for i, s := range []step{
		{"rebuild", cfg.rebuild},
		{"without its log", cfg.withoutLog},
		{"newest good copy", cfg.fromCopy},
	} {
		lost, err := s.do(ctx)
		if err == nil {
			err = Install(cfg.File)
		}
		if err == nil {
			cfg.Log(fmt.Sprintf("database: recovery %d, %s: done; %s", i+2, s.name, lost))
			return nil
		}
		cfg.Log(fmt.Sprintf("database: recovery %d, %s: %v", i+2, s.name, err))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w; no way to repair it and no good copy: bring one and run `kubesolo state restore FILE`,"+
		" or remove %s* to begin with an empty cluster", damage, cfg.File)
}

func (cfg Config) work() string { return cfg.File + ".work" }

func (cfg Config) removeWork() {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		_ = os.Remove(cfg.work() + suffix) // only room is lost
	}
}

func (cfg Config) rebuild(ctx context.Context) (string, error) {
	if err := cfg.duplicate(true); err != nil {
		return "", err
	}
	if err := cfg.rewrite(ctx); err != nil {
		return "", err
	}
	return "nothing was lost", nil
}

func (cfg Config) withoutLog(ctx context.Context) (string, error) {
	info, err := os.Stat(cfg.File + "-wal")
	if err != nil || info.Size() == 0 {
		return "", errors.New("there is no log")
	}
	if err := cfg.duplicate(false); err != nil {
		return "", err
	}
	if err := cfg.rewrite(ctx); err != nil {
		return "", err
	}
	main, err := os.Stat(cfg.File)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("what was written between %s and %s is lost", stamp(main.ModTime()), stamp(info.ModTime())), nil
}

func (cfg Config) fromCopy(ctx context.Context) (string, error) {
	copies, err := cfg.Copies()
	if err != nil {
		return "", err
	}
	if len(copies) == 0 {
		return "", errors.New("there is no copy")
	}
	var errs []error
	for _, c := range copies {
		err := Stage(ctx, cfg.File, c.File)
		if err == nil {
			if c.Key != cfg.Key {
				cfg.Log("database: " + OtherKey)
			}
			return fmt.Sprintf("objects written in the last %s, since %s, are lost",
				time.Since(c.Made).Round(time.Minute), stamp(c.Made)), nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// OtherKey is what must be said of a copy that was made with another key.
const OtherKey = "the copy was made with another service-account key: tokens kept in Secrets of type " +
	"kubernetes.io/service-account-token are refused until those Secrets are made anew"

// duplicate copies the database, with its log or without, to the work file.
func (cfg Config) duplicate(withLog bool) error {
	cfg.removeWork()
	if err := copyFile(cfg.File, cfg.work()); err != nil {
		return err
	}
	if !withLog {
		return nil
	}
	err := copyFile(cfg.File+"-wal", cfg.work()+"-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// complete checks a new file and puts it on the medium.
func complete(ctx context.Context, fresh string) error {
	if err := CheckCopy(ctx, fresh); err != nil {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
