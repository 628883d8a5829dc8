package kmod

import (
	"context"
	"errors"
	"time"

	"kubesolo.io/os/internal/uevent"
)

// Watch loads modules for devices that appear, until ctx ends (it then returns
// nil). It calls report, which may be nil, with each modalias for which it
// loaded something or was refused. After Coldplug it misses nothing.
func (h *Hardware) Watch(ctx context.Context, t *Tree, report func(modalias string, loaded []string, err error)) error {
	tell := func(alias string, loaded []string, err error) {
		if report != nil && (len(loaded) > 0 || err != nil) {
			report(alias, loaded, err)
		}
	}
	for {
		e, err := h.events.Next(ctx)
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
			clear(h.seen)
			err := h.walk()
			if err == nil {
				var loaded []string
				loaded, err = h.Coldplug(t, func() {})
				tell("(events were lost: all devices)", loaded, err)
				continue
			}
			tell("(events were lost)", nil, err)
			continue
		case err != nil:
			return err
		}
		if alias := aliasOf(e); alias != "" {
			loaded, err := t.loadAlias(alias)
			tell(alias, loaded, err)
		}
	}
}
