package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/netcfg/manager"
)

// handleNetwork shows the network, and begins or ends the trial of another
// configuration.
func (n *node) handleNetwork(ctx context.Context, r control.Request, send func(any) error) error {
	m := n.networkManager()
	if m == nil {
		return errors.New("the network is not configured yet: see timeline")
	}
	switch r.Verb {
	case control.VerbTry:
		part, err := networkOf(r.File)
		if err != nil {
			return err
		}
		return m.Try(ctx, *part.Network, time.Duration(r.Seconds)*time.Second)
	case control.VerbConfirm:
		return m.Confirm(ctx)
	case control.VerbRevert:
		return m.Revert(ctx)
	}
	return send(m.Status())
}

// networkManager is nil until the network is being configured.
func (n *node) networkManager() *manager.Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.network
}

// networkOf reads a document as the boot does. On trial is only what a boot
// would accept.
func networkOf(path string) (config.Part, error) {
	text, err := readFile(path)
	if err != nil {
		return config.Part{}, err
	}
	part, _, err := cloudinit.Parse(cloudinit.KindOf(path), text)
	part.Source = path
	if err == nil && part.Network == nil {
		err = errors.New("it has no network to try")
	}
	if err != nil {
		return config.Part{}, fmt.Errorf("%s: %w", path, err)
	}
	merged, origins := config.Merge(config.Defaults(), part)
	return part, config.Validate(merged, origins)
}
