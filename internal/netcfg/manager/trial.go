package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"kubesolo.io/os/internal/netcfg"
)

// Errors of a trial.
var (
	ErrTrialRuns = errors.New("another network configuration is on trial; confirm it, revert it, or wait for its end")
	ErrNoTrial   = errors.New("no network configuration is on trial: it was taken back already, or none was tried")
)

// trial is a configuration in force that nobody has confirmed yet.
type trial struct {
	former netcfg.Config
	until  time.Time
	timer  <-chan time.Time
}

func (t *trial) expired() <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.timer
}

// keptTrial is the file of a trial. It is there from before the configuration
// is in force until it is confirmed; whoever starts and finds it knows that the
// trial did not end well, be it that its time ran out or that the node was
// turned off and on since it could not be reached.
type keptTrial struct {
	Tried  netcfg.Config `json:"tried"`
	Former netcfg.Config `json:"former"`
}

// Try puts a configuration in force for that time: when it ends without Confirm,
// the former one is back. Whoever calls it should confirm over the network that
// the configuration makes. Try returns when the kernel has been brought to it;
// what it refused is in Status.Warnings.
//
// A reboot counts as not confirmed: a boot with the tried configuration uses the
// former one, and says so, until another one is given or it is tried again.
func (m *Manager) Try(ctx context.Context, c netcfg.Config, limit time.Duration) error {
	if len(c.Links) == 0 {
		return errors.New("the network configuration names no link: it would cut the node off")
	}
	if limit <= 0 {
		return fmt.Errorf("the time for a trial must be more than 0, not %s", limit)
	}
	return m.ask(ctx, func(r *runner) error {
		if r.trial != nil {
			return ErrTrialRuns
		}
		if err := keep(m.o.TrialPath, keptTrial{Tried: c, Former: r.config}); err != nil {
			return fmt.Errorf("remember the network configuration in force: %w", err)
		}
		r.trial = &trial{former: r.config, until: time.Now().Add(limit), timer: time.After(limit)}
		r.config = c
		m.o.Log.Info("network configuration on trial", "for", limit)
		return nil
	})
}

// Confirm keeps the configuration on trial. It stays in force for this boot; to
// have it at the next one is the caller's business.
func (m *Manager) Confirm(ctx context.Context) error {
	return m.ask(ctx, func(r *runner) error {
		if r.trial == nil {
			return ErrNoTrial
		}
		if err := forget(m.o.TrialPath); err != nil {
			return fmt.Errorf("forget the former network configuration: %w", err)
		}
		r.trial, r.rejected = nil, ""
		m.o.Log.Info("network configuration confirmed")
		return nil
	})
}

// Revert ends the trial at once.
func (m *Manager) Revert(ctx context.Context) error {
	return m.ask(ctx, func(r *runner) error {
		if r.trial == nil {
			return ErrNoTrial
		}
		r.revert("it was taken back")
		return nil
	})
}

// ask runs do in the manager's goroutine and returns its error once the kernel
// has been brought to the outcome.
func (m *Manager) ask(ctx context.Context, do func(*runner) error) error {
	answer := make(chan error, 1)
	m.send(ctx, func(r *runner) { answer <- do(r) })
	select {
	case err := <-answer:
		return err
	default:
		return fmt.Errorf("the network manager does not answer: %w", ctx.Err())
	}
}

// revert keeps the file: the configuration may have been stored already where
// the next boot reads it.
func (r *runner) revert(why string) {
	r.m.o.Log.Warn("the former network configuration is back", "why", why)
	r.config, r.trial = r.trial.former, nil
}

// resume is the configuration to start with, and why it is not the given one.
func resume(path string, given netcfg.Config, log *slog.Logger) (netcfg.Config, string) {
	kept, err := readTrial(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return given, ""
	case err != nil:
		log.Warn("the kept network trial is not used", "error", err)
	case same(kept.Tried, given):
		return kept.Former, "the network configuration of this boot was tried and not confirmed: the former one is in force; try it again, or give another one"
	}
	// Another configuration was given since: the trial means nothing any more.
	if err := forget(path); err != nil {
		log.Warn("the kept network trial stays", "error", err)
	}
	return given, ""
}

func same(a, b netcfg.Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func keep(path string, t keptTrial) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, string(b)+"\n")
}

// forget removes the file so that it stays removed when the power goes.
func forget(path string) error {
	if err := os.Remove(path); path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func readTrial(path string) (keptTrial, error) {
	b, err := os.ReadFile(path)
	if path == "" || err != nil {
		return keptTrial{}, fs.ErrNotExist
	}
	t, err := parseTrial(b)
	if err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func parseTrial(b []byte) (keptTrial, error) {
	var t keptTrial
	if err := json.Unmarshal(b, &t); err != nil {
		return t, err
	}
	if len(t.Former.Links) == 0 || len(t.Tried.Links) == 0 {
		return t, errors.New("a configuration without a link in it")
	}
	return t, nil
}
