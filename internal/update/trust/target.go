package trust

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Target is one slot image on offer.
type Target struct {
	Name         string    `json:"name"` // kubesolo-os-0.2.0-amd64.slot
	Version      string    `json:"version"`
	Architecture string    `json:"architecture"` // as Go calls it: amd64
	Channels     []string  `json:"channels"`
	MinVersion   string    `json:"minVersion,omitempty"` // the node must run at least this; "": any
	Released     time.Time `json:"released"`
	Rollout      string    `json:"rollout,omitempty"` // how long it takes until all nodes may, "24h"; "": at once
	Notes        string    `json:"notes,omitempty"`
	Length       int64     `json:"length"` // bytes
	SHA256       string    `json:"sha256"` // hex
}

// File is the target's name in the targets directory, as source.Source wants it.
func (t Target) File() string { return t.SHA256 + "." + t.Name }

// Custom is the part of a target that TUF leaves to us (custom in targets.json).
type Custom struct {
	Version      string    `json:"version"`
	Architecture string    `json:"architecture"`
	Channels     []string  `json:"channels"`
	MinVersion   string    `json:"minVersion,omitempty"`
	Released     time.Time `json:"released"`
	Rollout      string    `json:"rollout,omitempty"`
	Notes        string    `json:"notes,omitempty"`
}

const (
	targetPrefix = "kubesolo-os-"
	targetSuffix = ".slot"
	maxNotes     = 8 << 10
)

// TargetName is the name a slot image has in a repository.
func TargetName(version, architecture string) string {
	return targetPrefix + version + "-" + architecture + targetSuffix
}

// ParseTarget reads one entry of targets.json. Fields that it does not know are left
// alone: a later publisher may have reasons for them.
func ParseTarget(name string, length int64, sha256 []byte, custom []byte) (Target, error) {
	var c Custom
	if err := json.Unmarshal(custom, &c); err != nil {
		return Target{}, fmt.Errorf("target %s: custom: %w", name, err)
	}
	t := Target{Name: name, Version: c.Version, Architecture: c.Architecture, Channels: c.Channels, MinVersion: c.MinVersion,
		Released: c.Released, Rollout: c.Rollout, Notes: c.Notes, Length: length, SHA256: hex.EncodeToString(sha256)}
	var problem string
	switch {
	case !ValidVersion(t.Version):
		problem = fmt.Sprintf("version %q is none like 1.2.3 or 1.2.3-rc.1", t.Version)
	case t.MinVersion != "" && !ValidVersion(t.MinVersion):
		problem = fmt.Sprintf("minVersion %q is none like 1.2.3", t.MinVersion)
	case t.MinVersion != "" && Compare(t.MinVersion, t.Version) > 0:
		problem = fmt.Sprintf("minVersion %s is above its version %s", t.MinVersion, t.Version)
	case !word(t.Architecture):
		problem = fmt.Sprintf("architecture %q is none like amd64", t.Architecture)
	case len(t.Channels) == 0 || slices.ContainsFunc(t.Channels, func(c string) bool { return !word(c) }):
		problem = fmt.Sprintf("channels %q: at least one, of a-z, 0-9, dots and -", t.Channels)
	case name != TargetName(t.Version, t.Architecture):
		problem = fmt.Sprintf("its version and architecture want the name %s", TargetName(t.Version, t.Architecture))
	case t.Released.IsZero():
		problem = "no time of release"
	case len(t.Notes) > maxNotes:
		problem = fmt.Sprintf("notes of %d bytes, at most %d", len(t.Notes), maxNotes)
	case length <= 0:
		problem = fmt.Sprintf("a length of %d bytes", length)
	case len(sha256) != 32:
		problem = "no sha256"
	}
	if problem != "" {
		return Target{}, fmt.Errorf("target %s: %s", name, problem)
	}
	return t, nil
}

// word is what names of channels and architectures are made of.
func word(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && s[0] != '-' && s[0] != '.'
}

// parseTargets reads all slot images. Targets of other names are none of ours. One that
// cannot be read makes the whole list invalid: better one clear error on every node than a
// release that silently is not there.
func parseTargets(files map[string]*metadata.TargetFiles) ([]Target, error) {
	var list []Target
	for name, file := range files {
		if !strings.HasPrefix(name, targetPrefix) || !strings.HasSuffix(name, targetSuffix) {
			continue
		}
		if file.Custom == nil {
			return nil, fmt.Errorf("targets.json: %w: target %s: no custom part", ErrDamaged, name)
		}
		t, err := ParseTarget(name, file.Length, file.Hashes["sha256"], bytes.Clone(*file.Custom))
		if err != nil {
			return nil, fmt.Errorf("targets.json: %w: %w", ErrDamaged, err)
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Target) int {
		return cmp.Or(Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	return list, nil
}
