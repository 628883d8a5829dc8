package kmod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kubesolo.io/os/internal/uevent"
)

// Coldplug loads a module for every device below SYSFS/devices that names one
// in its modalias file, and returns what it loaded. Devices without a module
// and drivers without a device are no errors; modules the kernel refuses are
// joined in err, and the others are loaded all the same. It repeats while new
// modules bring new devices (a USB controller, then its disks).
func (t *Tree) Coldplug(sysfs string) (loaded []string, err error) {
	const rounds = 4 // bus, hub, device, partition: deeper chains come by Watch
	tried := map[string]bool{}
	var errs []error
	for range rounds {
		aliases, err := modaliases(filepath.Join(sysfs, "devices"))
		if err != nil {
			return loaded, fmt.Errorf("coldplug: %w", err)
		}
		before := len(loaded)
		for _, a := range aliases {
			if tried[a] {
				continue
			}
			tried[a] = true
			got, err := t.loadAlias(a)
			loaded = append(loaded, got...)
			if err != nil {
				errs = append(errs, err)
			}
		}
		if len(loaded) == before {
			break
		}
	}
	return loaded, errors.Join(errs...)
}

// loadAlias loads for hardware: no module and no hardware are fine.
func (t *Tree) loadAlias(modalias string) ([]string, error) {
	loaded, err := t.load(modalias, "")
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoHardware) {
		return loaded, nil
	}
	return loaded, err
}

func modaliases(devices string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(devices, func(path string, d fs.DirEntry, err error) error {
		switch {
		case path == devices:
			return err
		case err != nil:
			return nil // a device that went away while we look
		case d.Name() != "modalias" || d.IsDir():
			return nil
		}
		if b, err := os.ReadFile(path); err == nil {
			if a := strings.TrimSpace(string(b)); a != "" {
				out = append(out, a)
			}
		}
		return nil
	})
	return out, err
}

// Watch loads modules for devices that appear, until ctx ends (it then returns
// nil). It calls report, which may be nil, with each modalias for which it
// loaded something or was refused.
func (t *Tree) Watch(ctx context.Context, sysfs string, report func(modalias string, loaded []string, err error)) error {
	l, err := uevent.Listen()
	if err != nil {
		return err
	}
	defer l.Close()
	tell := func(alias string, loaded []string, err error) {
		if report != nil && (len(loaded) > 0 || err != nil) {
			report(alias, loaded, err)
		}
	}
	for {
		e, err := l.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, uevent.ErrLost):
			// Let the burst end, then look at everything.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
			loaded, err := t.Coldplug(sysfs)
			tell("(events were lost: all devices)", loaded, err)
			continue
		case err != nil:
			return err
		}
		alias := e.Env["MODALIAS"]
		if alias == "" || (e.Action != "add" && e.Action != "change") {
			continue
		}
		loaded, err := t.loadAlias(alias)
		tell(alias, loaded, err)
	}
}
