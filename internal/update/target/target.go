// Package target picks what the engine of updates (update) begins, of what a
// signed repository offers (trust), and puts it into the words of the engine and of
// the download (fetch).
//
// It owns no state, never reads a source, and a device only to verify it. Tested with
// plain values here, and with signed repositories and devices by the tests of ksagent.
package target

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/fetch"
	"kubesolo.io/os/internal/update/trust"
)

// Choose picks the target for a query on a machine of this architecture (a GOARCH).
// One that was begun (Exactly) is looked for as it was. The error is an
// update.Rejected when the operator asked for what cannot be had, wraps
// update.ErrNothingNew when there is nothing to do, else it is of trust.Select.
func Choose(targets []trust.Target, q update.Query, architecture, channel string) (trust.Target, error) {
	if q.Exactly != nil {
		for _, t := range targets {
			if t.Name == q.Exactly.Name && t.SHA256 == q.Exactly.SHA256 {
				return t, nil
			}
		}
		return trust.Target{}, &update.Rejected{Reason: q.Exactly.Name + " is not offered any more"}
	}
	p := trust.Policy{Current: q.Current, Architecture: architecture, Channel: channel, Version: q.Version, Force: q.Force}
	for _, r := range q.State.Refused {
		p.Refused = append(p.Refused, r.Version)
	}
	t, err := trust.Select(targets, p)
	switch {
	case err == nil:
		return t, nil
	case !errors.Is(err, trust.ErrNoUpdate):
		return trust.Target{}, err
	case q.Version == "" || q.Version == q.Current:
		return trust.Target{}, fmt.Errorf("%w: %s", update.ErrNothingNew, reasonOf(err))
	}
	return trust.Target{}, &update.Rejected{Reason: reasonOf(err)}
}

func reasonOf(err error) string {
	return strings.TrimPrefix(err.Error(), trust.ErrNoUpdate.Error()+": ")
}

// Payload is the target as the engine remembers it; from is the address of its source.
func Payload(t trust.Target, from string) update.Payload {
	return update.Payload{Version: t.Version, Name: t.Name, SHA256: t.SHA256, Length: t.Length, From: from,
		Released: t.Released, Rollout: t.Rollout}
}

// Download is what the engine remembers, as what is downloaded. The metadata's own
// check: a hash is 32 bytes in hexadecimal digits; without one, as of what came with
// the disk, Length is 0.
func Download(p update.Payload) fetch.Target {
	t := fetch.Target{Name: p.Name, Length: p.Length}
	sum, err := hex.DecodeString(p.SHA256)
	if err != nil || len(sum) != len(t.SHA256) {
		return fetch.Target{Name: p.Name}
	}
	copy(t.SHA256[:], sum)
	return t
}

// Verify reads what a slot has before it is tried.
func Verify(ctx context.Context, device string, p update.Payload) error {
	return fetch.Verify(ctx, device, Download(p))
}
