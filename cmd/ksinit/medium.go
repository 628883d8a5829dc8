package main

import (
	"errors"
	"fmt"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/control"
)

// mediumDir is where a medium with updates is mounted while the agent reads it.
const mediumDir = "/run/ksinit/medium"

// handleMedium mounts the medium with updates, to be read only, or lets go of it.
// The agent may not mount.
func (n *node) handleMedium(r control.Request, send func(any) error) error {
	// Not n.mu: a drive may take its time.
	n.mediumMu.Lock()
	defer n.mediumMu.Unlock()
	if n.medium != nil {
		// Also before it is mounted again: what is there now may be another.
		if err := n.medium(); err != nil {
			return fmt.Errorf("%s: %w: it is still being read", mediumDir, err)
		}
		n.medium = nil
	}
	if r.Verb == control.VerbMediumEnd {
		return nil
	}
	device, release, err := n.mountVolume(mediumDir, control.MediumLabel)
	if errors.Is(err, blockdev.ErrNotFound) {
		return send(control.Medium{})
	}
	if err != nil {
		return fmt.Errorf("medium %s: %w", control.MediumLabel, err)
	}
	n.medium = release
	return send(control.Medium{Device: device, Directory: mediumDir})
}
