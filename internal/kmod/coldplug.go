package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kubesolo.io/os/internal/uevent"
)

// Coldplug loads a module for every device that names one in a modalias file
// below SYSFS/bus or SYSFS/class, and returns what it loaded. Devices without a
// module and drivers without a device are no errors; modules the kernel refuses
// are joined in err, and the others are loaded all the same. It repeats while
// new modules bring new devices (a USB controller, then its disks).
func (t *Tree) Coldplug(sysfs string) (loaded []string, err error) {
	const rounds = 4 // bus, hub, device, partition: deeper chains come by Watch
	tried := map[string]bool{}
	var errs []error
	for range rounds {
		aliases, err := modaliases(sysfs)
		if err != nil {
			return loaded, fmt.Errorf("coldplug: %w", err)
		}
		var disks, others []string
		for _, a := range aliases {
			switch {
			case tried[a]:
			case leadsToDisk(a):
				disks = append(disks, a)
			default:
				others = append(others, a)
			}
			tried[a] = true
		}
		// Disk drivers wait for their hardware (0.3 s for the IDE bus of
		// an emulated PC), so they go beside the others. Each of the two
		// lists keeps its order: in it, two network drivers name eth0 and
		// eth1 the same at every boot.
		var beside []string
		var besideErr error
		done := make(chan struct{})
		go func() {
			defer close(done)
			beside, besideErr = t.loadAliases(disks)
		}()
		got, err := t.loadAliases(others)
		<-done
		errs = append(errs, err, besideErr)
		if len(got)+len(beside) == 0 {
			break
		}
		loaded = append(append(loaded, beside...), got...)
	}
	return loaded, errors.Join(errs...)
}

// loadAliases loads one after the other. It turns a panic into an error: it
// runs in a goroutine of PID 1.
func (t *Tree) loadAliases(aliases []string) (loaded []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("coldplug: internal error: %v", p))
		}
	}()
	for _, a := range aliases {
		got, aliasErr := t.loadAlias(a)
		loaded = append(loaded, got...)
		err = errors.Join(err, aliasErr)
	}
	return loaded, err
}

// leadsToDisk tells the modalias of a disk or of the controller of one, by PCI
// class (mass storage, SD host, USB host), virtio type (block, SCSI) or bus.
func leadsToDisk(alias string) bool {
	for _, prefix := range []string{"scsi:", "ata:", "nvme:", "mmc:", "sd:", "virtio:d00000002v", "virtio:d00000008v"} {
		if strings.HasPrefix(alias, prefix) {
			return true
		}
	}
	return strings.HasPrefix(alias, "pci:") &&
		(strings.Contains(alias, "bc01") || strings.Contains(alias, "bc08sc05") || strings.Contains(alias, "bc0Csc03"))
}

// loadAlias loads for hardware: no module and no hardware are fine.
func (t *Tree) loadAlias(modalias string) ([]string, error) {
	loaded, err := t.load(modalias, "")
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoHardware) {
		return loaded, nil
	}
	return loaded, err
}

// modaliases reads those of all devices on a bus, of class devices that have
// one (dmi, input), and of the processor. To walk all of SYSFS/devices instead
// takes ten times as long: 0.1 s a round under emulation.
func modaliases(sysfs string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(sysfs, "bus")); err != nil {
		return nil, err
	}
	var out []string
	for _, pattern := range []string{"bus/*/devices/*/modalias", "class/*/*/modalias", "devices/system/*/modalias"} {
		files, err := filepath.Glob(filepath.Join(sysfs, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue // a device that went away while we look
			}
			if a := strings.TrimSpace(string(b)); a != "" {
				out = append(out, a)
			}
		}
	}
	return out, nil
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
