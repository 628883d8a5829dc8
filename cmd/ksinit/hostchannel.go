package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/uevent"
)

// openHostChannel gives all events of this boot, past and to come, to a
// hypervisor that listens. A machine without its port is a normal one; a port
// that comes late is used from then on.
func (n *node) openHostChannel(ctx context.Context) error {
	// Listen before the first look, so that no port falls in between.
	devices, err := uevent.Listen()
	if err != nil {
		return boot.Degraded(fmt.Errorf("host channel: %w", err))
	}
	dev, err := event.FindPort("/sys", "/dev", event.PortName)
	if err == nil {
		boot.Note(ctx, "host channel %s", dev)
		return boot.Degraded(errors.Join(n.attachHost(dev), devices.Close()))
	}
	n.closeAtEnd(devices)
	n.background("events", func() {
		dev, err := event.WaitPort(context.Background(), "/sys", "/dev", event.PortName, func(ctx context.Context) error {
			return nextPort(ctx, devices)
		})
		if err == nil {
			err = n.attachHost(dev)
		}
		if !errors.Is(err, os.ErrClosed) { // it is when the node ends
			n.log.Info("host channel", "port", dev, "err", fmt.Sprint(err))
		}
	})
	return nil
}

func (n *node) attachHost(dev string) error {
	port, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("host channel: %w", err)
	}
	n.events.Attach(event.NewStream(port, 4096))
	return nil
}

// nextPort waits until a virtio-serial port came or was named.
func nextPort(ctx context.Context, devices *uevent.Listener) error {
	for {
		e, err := devices.Next(ctx)
		switch {
		case errors.Is(err, uevent.ErrLost):
			return nil // it may have been among them
		case err != nil:
			return err
		case e.Env["SUBSYSTEM"] == "virtio-ports":
			return nil
		}
	}
}
