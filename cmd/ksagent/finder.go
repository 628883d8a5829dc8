package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/clocksync"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/fetch"
	"kubesolo.io/os/internal/update/policy"
	"kubesolo.io/os/internal/update/source"
	"kubesolo.io/os/internal/update/target"
	"kubesolo.io/os/internal/update/trust"
)

const (
	architecture = runtime.GOARCH
	trustedRoot  = "/etc/kubesolo-os/update/root.json"
	mediumDir    = "kubesolo-os"
)

// finder looks for updates in what the configuration or an order names.
type finder struct {
	u *updater
	// client is made at the first look: an image that was built without keys has no
	// root to begin from, and does all but this.
	client func() (*trust.Client, error)
}

func newFinder(u *updater) *finder {
	f := &finder{u: u}
	f.client = sync.OnceValues(func() (*trust.Client, error) {
		root, err := os.ReadFile(trustedRoot)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("this image trusts nobody: it was built without %s", trustedRoot)
		}
		if err != nil {
			return nil, err
		}
		floor, err := clocksync.ReadFloor(clocksync.FloorFile)
		if err != nil {
			u.agent.log.Warn("updates: expiry is judged by the clock alone", "err", err)
		}
		return trust.Open(trust.Options{Dir: filepath.Join(updateDir, "trust"), Root: root, Now: time.Now, Floor: floor})
	})
	return f
}

// find implements the engine's looking.
func (f *finder) find(ctx context.Context, q update.Query) (_ update.Offer, err error) {
	c := f.u.configuration()
	address := q.Source
	if address == "" {
		address = c.Source
	}
	if address == "" {
		return update.Offer{}, &update.Rejected{Reason: "no source of updates is configured (update.source of cloud-init.yaml): name one, or plug in a medium labelled " + control.MediumLabel}
	}
	offer := update.Offer{Payload: update.Payload{From: address}}
	if q.Channel != "" {
		c.Channel = q.Channel
	}
	client, err := f.client()
	if err != nil {
		return offer, err
	}
	src, release, err := f.open(ctx, address, c)
	if err != nil {
		return offer, err
	}
	keep := false
	defer func() {
		if !keep {
			release()
		}
	}()
	if err := client.Refresh(ctx, src); err != nil {
		return offer, err
	}
	chosen, err := target.Choose(client.Targets(), q, architecture, c.Channel)
	if err != nil {
		return offer, err
	}
	offer.Payload, offer.Notes = target.Payload(chosen, address), chosen.Notes
	if q.By == "" || q.Verb == update.Check {
		offer.Later = f.later(ctx, q, chosen, c)
	}
	// Only what is begun is fetched: a look lets go of the medium.
	keep = q.Exactly != nil
	offer.Fetch = func(ctx context.Context, slot control.Passive, progress func(done, total int64)) error {
		defer release()
		return fetch.Fetch(ctx, f.fetchOptions(src, offer.Payload, slot, progress))
	}
	return offer, nil
}

// later is why the node does not begin by itself now.
func (f *finder) later(ctx context.Context, q update.Query, t trust.Target, c config.Update) string {
	in := f.u.policy(ctx, q.State)
	in.Target = policy.Target{Version: t.Version, Architecture: t.Architecture, Channels: t.Channels, MinVersion: t.MinVersion,
		Released: t.Released, Rollout: t.Rollout, Size: t.Length}
	in.Channel = c.Channel
	var why []string
	for _, g := range policy.Closed(policy.Evaluate(in)) {
		// A download may come before its window, and before it is the turn of
		// this machine it must not.
		if g.Name != policy.Window {
			why = append(why, g.Name+": "+g.Reason)
		}
	}
	return strings.Join(why, "; ")
}

// open reaches for a source; release lets go of it.
func (f *finder) open(ctx context.Context, address string, c config.Update) (_ source.Source, release func(), err error) {
	release = func() {}
	if address == update.MediumSource {
		m, err := f.u.ksinit.Medium(ctx)
		if err != nil {
			return nil, nil, err
		}
		if m.Directory == "" {
			return nil, nil, &update.Rejected{Reason: "no disk is labelled " + control.MediumLabel}
		}
		release = func() {
			if err := f.u.ksinit.MediumEnd(context.Background()); err != nil {
				f.u.agent.log.Warn("updates: medium", "err", err)
			}
		}
		return source.Directory{Medium: m.Directory, Dir: mediumDir}, release, nil
	}
	o := source.HTTPOptions{Version: f.u.version}
	if c.CA != "" {
		if o.CAFile, err = runtimeFile("update-ca.pem", c.CA); err != nil {
			return nil, nil, err
		}
	}
	name, isOCI := strings.CutPrefix(address, "oci://")
	if !isOCI {
		src, err := source.NewHTTP(address, o)
		return src, release, err
	}
	oci := source.OCIOptions{HTTPOptions: o}
	secret, err := config.ReadRegistryAuth(config.EffectiveDir)
	if err != nil {
		return nil, nil, err
	}
	if secret != "" {
		oci.AuthFile = filepath.Join(config.EffectiveDir, "registry-auth.json")
	}
	if c.CosignKey != "" {
		key, err := source.ParseCosignKey([]byte(c.CosignKey))
		if err != nil {
			return nil, nil, fmt.Errorf("update.cosign-key: %w", err)
		}
		oci.Keys = []*ecdsa.PublicKey{key}
	}
	if i := strings.LastIndexByte(name, '/'); !strings.ContainsAny(name[i+1:], ":@") {
		name += ":" + c.Channel
	}
	src, err := source.NewOCI(name, oci)
	return src, release, err
}

// runtimeFile writes what another package wants as a file.
func runtimeFile(name, content string) (string, error) {
	path := filepath.Join("/run/ksagent", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, atomicfile.Write(path, []byte(content), 0o600)
}

// fetchOptions say where a target goes, and what is known of it between two tries.
func (f *finder) fetchOptions(src source.Source, p update.Payload, slot control.Passive, progress func(done, total int64)) fetch.Options {
	return fetch.Options{
		Source: src, Target: target.Download(p),
		Device: slot.Device, Size: slot.Size, Running: f.u.engine.Status().Slots.Device,
		State: filepath.Join(updateDir, "download.json"), Progress: progress,
		Failed: func(err error, again time.Duration) {
			f.u.agent.log.Warn("updates: download", "err", err, "again", again)
		},
	}
}
