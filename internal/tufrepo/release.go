package tufrepo

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"kubesolo.io/os/internal/update/trust"
)

// Release is one slot image to publish.
type Release struct {
	File         string // slot image; hard linked into the repository, or copied from another file system
	Version      string
	Architecture string
	Channels     []string
	MinVersion   string // a node must run at least this; "": any
	Notes        string
	Released     time.Time
	Rollout      time.Duration // until all nodes may have it, from Released on; 0: at once
}

func rollout(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// Add publishes a release. The same image again, in other channels or with other notes,
// replaces what was said of it; another image of a version that is published is refused,
// as nodes may run the first one.
func (r *Repository) Add(release Release) (trust.Target, error) {
	if !utf8.ValidString(release.Notes) {
		return trust.Target{}, errors.New("the notes are not UTF-8")
	}
	if release.Rollout < 0 {
		return trust.Target{}, fmt.Errorf("a roll-out over %v: it cannot be negative", release.Rollout)
	}
	unlock, err := r.lock()
	if err != nil {
		return trust.Target{}, err
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return trust.Target{}, err
	}
	custom, err := json.Marshal(trust.Custom{Version: release.Version, Architecture: release.Architecture, Channels: release.Channels,
		MinVersion: release.MinVersion, Released: release.Released.UTC().Truncate(time.Second), Notes: release.Notes,
		Rollout: rollout(release.Rollout)})
	if err != nil {
		return trust.Target{}, err
	}
	name := trust.TargetName(release.Version, release.Architecture)
	part := filepath.Join(r.Dir, "targets", "."+filepath.Base(name)+".part")
	sum, size, err := bring(release.File, part)
	if err != nil {
		return trust.Target{}, errors.Join(err, removed(part))
	}
	target, err := trust.ParseTarget(name, size, sum, custom)
	if old := s.targets.Signed.Targets[name]; err == nil && old != nil && !slices.Equal(old.Hashes["sha256"], sum) {
		err = fmt.Errorf("version %s for %s is published already, with another image (sha256 %x): give this one another version",
			release.Version, release.Architecture, []byte(old.Hashes["sha256"]))
	}
	if err != nil {
		return trust.Target{}, errors.Join(err, removed(part))
	}
	err = os.Rename(part, filepath.Join(r.Dir, "targets", target.File()))
	if err == nil {
		err = removed(part) // two names of one file: then renaming does nothing
	}
	if err != nil {
		return trust.Target{}, err
	}
	s.targets.Signed.Targets[name] = &metadata.TargetFiles{Length: size, Hashes: metadata.Hashes{"sha256": sum}, Custom: (*json.RawMessage)(&custom)}
	return target, r.publish(s, true)
}

// bring links or copies the file to part, and hashes what is there.
func bring(from, part string) (sum []byte, size int64, err error) {
	if err := removed(part); err != nil { // of a publisher who was interrupted
		return nil, 0, err
	}
	file, err := filepath.EvalSymlinks(from) // else the link itself gets a second name
	if err != nil {
		return nil, 0, fmt.Errorf("slot image: %w", err)
	}
	if os.Link(file, part) != nil {
		if err := copyFile(file, part); err != nil {
			return nil, 0, fmt.Errorf("slot image: %w", err)
		}
	}
	f, err := os.Open(part)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // read only
	h := sha256.New()
	size, err = io.Copy(h, f)
	return h.Sum(nil), size, err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func removed(name string) error {
	if err := os.Remove(name); err != nil && !absent(err) {
		return err
	}
	return nil
}

// Withdraw takes a version out of the metadata, for all architectures. Its files stay:
// a node may be reading one.
func (r *Repository) Withdraw(version string) error {
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return err
	}
	found := false
	for name, file := range s.targets.Signed.Targets {
		var custom trust.Custom
		if file.Custom != nil && json.Unmarshal(*file.Custom, &custom) == nil && custom.Version == version {
			delete(s.targets.Signed.Targets, name)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("version %s is not in %s", version, r.Dir)
	}
	return r.publish(s, true)
}

// Refresh signs snapshot and timestamp again before they expire, and targets when half of
// its time is over and its key is here.
func (r *Repository) Refresh() error {
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return err
	}
	left := s.targets.Signed.Expires.Sub(r.Time)
	_, keyErr := r.Keys.signer(metadata.TARGETS)
	switch {
	case s.targetsText == nil || left > r.Expiry.Targets/2:
		return r.publish(s, false)
	case keyErr == nil:
		return r.publish(s, true)
	case left <= 0:
		return fmt.Errorf("targets.json expired at %s: %w", s.targets.Signed.Expires.Format(time.RFC3339), keyErr)
	}
	return r.publish(s, false)
}
