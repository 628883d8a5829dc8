package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/fetch"
	"kubesolo.io/os/internal/update/source"
	"kubesolo.io/os/internal/update/target"
	"kubesolo.io/os/internal/update/trust"
	"kubesolo.io/os/test/small/guest"
)

// versionIn reads a slot's partition, and names the version that it has all of, ""
// for none that the medium knows.
func versionIn(device string) (string, error) {
	list, err := os.ReadFile(filepath.Join(mediumDir, "slots"))
	if err != nil {
		return "", err
	}
	f, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for line := range strings.Lines(string(list)) {
		var version, want string
		var length int64
		if _, err := fmt.Sscan(line, &version, &want, &length); err != nil {
			return "", fmt.Errorf("slots: %q: %w", line, err)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, io.NewSectionReader(f, 0, length)); err != nil {
			return "", err
		}
		if hex.EncodeToString(hash.Sum(nil)) == want {
			return version, nil
		}
	}
	return "", nil
}

// finder looks for updates on the medium, as that of ksagent does.
type finder struct {
	node   *node
	client *trust.Client
}

func newFinder(n *node, i image) (*finder, error) {
	client, err := trust.Open(trust.Options{Dir: filepath.Join(updateDir, "trust"), Root: i.root, Now: time.Now})
	return &finder{n, client}, err
}

func (f *finder) find(ctx context.Context, q update.Query) (update.Offer, error) {
	from := source.Directory{Medium: mediumDir, Dir: "kubesolo-os"}
	offer := update.Offer{Payload: update.Payload{From: update.MediumSource}}
	if err := f.client.Refresh(ctx, from); err != nil {
		return offer, err
	}
	chosen, err := target.Choose(f.client.Targets(), q, runtime.GOARCH, "stable")
	if err != nil {
		return offer, err
	}
	offer.Payload = target.Payload(chosen, update.MediumSource)
	offer.Fetch = func(ctx context.Context, slot control.Passive, progress func(done, total int64)) error {
		running, _ := f.node.disk.Slot(f.node.slots.Running())
		return fetch.Fetch(ctx, fetch.Options{Source: from, Target: target.Download(offer.Payload),
			Device: slot.Device, Size: slot.Size, Running: running, State: filepath.Join(updateDir, "download.json"), Progress: progress,
			Failed: func(err error, again time.Duration) { guest.Say(err) }})
	}
	return offer, nil
}

// database stands in for the node's own: a file that says which version wrote it.
type database struct{ dir string }

const (
	databaseFile = "database"
	copyFile     = "copy"
)

// open is what a newer version does to a database: older ones cannot read it.
func (d database) open(version string) error {
	path := filepath.Join(d.dir, databaseFile)
	if now, err := os.ReadFile(path); err == nil && !bytes.Equal(now, []byte(version)) && trust.Compare(string(now), version) > 0 {
		return nil // until the copy of before is restored
	}
	return atomicfile.Write(path, []byte(version), 0o600)
}

func (d database) read() (string, error) {
	text, err := os.ReadFile(filepath.Join(d.dir, databaseFile))
	return string(text), err
}

// Copy and Restore implement update.Database.
func (d database) Copy(context.Context) (string, error) {
	text, err := d.read()
	if err != nil {
		return "", err
	}
	return copyFile, atomicfile.Write(filepath.Join(d.dir, copyFile), []byte(text), 0o600)
}

// Restore brings a copy back.
func (d database) Restore(_ context.Context, name string) error {
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(d.dir, databaseFile), text, 0o600)
}
