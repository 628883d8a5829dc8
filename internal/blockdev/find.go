package blockdev

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"kubesolo.io/os/internal/uevent"
)

// DataLabel is the label and partition name that "auto" looks for.
const DataLabel = "KSOLODATA"

// ErrNotFound is returned (wrapped) when no device fits; ErrAmbiguous when more
// than one does.
var (
	ErrNotFound  = errors.New("no such device")
	ErrAmbiguous = errors.New("more than one device fits")
)

// Find picks the device that spec names:
//
//	auto or empty    a file system with label KSOLODATA, else a partition of that name
//	/dev/sda4        that device
//	LABEL= UUID=     of the file system
//	PARTLABEL= PARTUUID=   of the partition; PARTUUID also as XXXXXXXX-NN of a DOS table
//
// UUIDs compare without regard to case. Of several that fit, one on a fixed
// disk wins over those on removable ones (an installation stick left in the
// machine); otherwise it is ErrAmbiguous. Errors list what was seen.
func Find(devs []Device, spec string) (Device, error) {
	fits, what, err := matcher(spec)
	if err != nil {
		return Device{}, err
	}
	for _, fit := range fits {
		var found []Device
		for _, d := range devs {
			if fit(d) {
				found = append(found, d)
			}
		}
		if len(found) == 0 {
			continue
		}
		return single(found, what)
	}
	return Device{}, fmt.Errorf("no %s: %w; seen: %s", what, ErrNotFound, Seen(devs))
}

// single prefers fixed disks, and a partition over the disk it covers.
func single(found []Device, what string) (Device, error) {
	if len(found) > 1 {
		var fixed []Device
		for _, d := range found {
			if !d.Removable {
				fixed = append(fixed, d)
			}
		}
		if len(fixed) > 0 {
			found = fixed
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return Device{}, fmt.Errorf("%s: %w: %s; name one with kubesolo.data=/dev/... or PARTUUID=", what, ErrAmbiguous, Seen(found))
}

func matcher(spec string) (fits []func(Device) bool, what string, err error) {
	label := func(v string) func(Device) bool { return func(d Device) bool { return d.Label == v } }
	partLabel := func(v string) func(Device) bool { return func(d Device) bool { return d.PartLabel == v } }
	if spec == "" || spec == "auto" {
		return []func(Device) bool{label(DataLabel), partLabel(DataLabel)}, "file system or partition with label " + DataLabel, nil
	}
	if strings.HasPrefix(spec, "/dev/") {
		path := filepath.Clean(spec)
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		return []func(Device) bool{func(d Device) bool { return d.Path == path || d.Path == filepath.Clean(spec) }}, "device " + spec, nil
	}
	kind, value, _ := strings.Cut(spec, "=")
	value = strings.Trim(value, `"`)
	if value == "" {
		return nil, "", fmt.Errorf("device %q: want auto, /dev/NAME, LABEL=, UUID=, PARTLABEL= or PARTUUID=", spec)
	}
	switch kind {
	case "LABEL":
		return []func(Device) bool{label(value)}, "file system with label " + value, nil
	case "UUID":
		return []func(Device) bool{func(d Device) bool { return strings.EqualFold(d.UUID, value) }}, "file system with UUID " + value, nil
	case "PARTLABEL":
		return []func(Device) bool{partLabel(value)}, "partition with name " + value, nil
	case "PARTUUID":
		return []func(Device) bool{func(d Device) bool { return strings.EqualFold(d.PartUUID, value) }}, "partition with UUID " + value, nil
	}
	return nil, "", fmt.Errorf("device %q: want auto, /dev/NAME, LABEL=, UUID=, PARTLABEL= or PARTUUID=", spec)
}

// Seen lists devices for a message.
func Seen(devs []Device) string {
	var out []string
	for _, d := range devs {
		if strings.HasPrefix(d.Name, "loop") {
			continue // the system's own images
		}
		out = append(out, d.String())
	}
	if len(out) == 0 {
		return "no disk at all"
	}
	return strings.Join(out, ", ")
}

// Wait scans all but CD drives until spec is found, enough says that waiting is pointless, or ctx
// ends; it wakes up with each event of a block device. enough may be nil. It
// returns all devices of the last scan, and the error of its Find.
func Wait(ctx context.Context, sysfs, dev, spec string, enough func([]Device) bool) (Device, []Device, error) {
	// Listen before the first scan, so that no device falls in between.
	events, err := uevent.Listen()
	if err == nil {
		defer events.Close()
	}
	for last := false; ; {
		devs, err := scan(sysfs, dev, skippedForData)
		if err != nil {
			return Device{}, nil, err
		}
		d, err := Find(devs, spec)
		if err == nil || !errors.Is(err, ErrNotFound) || last {
			return d, devs, err
		}
		// One more look: the device may have come while this one was made.
		if last = ctx.Err() != nil || (enough != nil && enough(devs)); !last {
			waitForBlock(ctx, events)
		}
	}
}

// rescanEvery bounds the wait for an event, which is lost where there is no
// socket, and in namespaces.
const rescanEvery = time.Second

func waitForBlock(ctx context.Context, events *uevent.Listener) {
	ctx, cancel := context.WithTimeout(ctx, rescanEvery)
	defer cancel()
	if events == nil {
		<-ctx.Done()
		return
	}
	for {
		e, err := events.Next(ctx)
		if err != nil || e.Env["SUBSYSTEM"] == "block" {
			if err != nil && !errors.Is(err, uevent.ErrLost) {
				<-ctx.Done() // also when the socket broke: never spin
			}
			return
		}
	}
}
