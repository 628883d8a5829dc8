package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// ValidVersion says whether v is a full semantic version without build metadata, which
// would not count in comparisons: 1.2.3 or 1.2.3-rc.1.
func ValidVersion(v string) bool {
	return len(v) <= 64 && !strings.HasPrefix(v, "v") && semver.Canonical("v"+v) == "v"+v
}

// Compare orders two valid versions by the rules of semver.org: -1, 0 or 1.
func Compare(a, b string) int { return semver.Compare("v"+a, "v"+b) }

// Policy says which target a node wants.
type Policy struct {
	Current      string   // version that runs
	Architecture string   // of the node
	Channel      string   // that the node follows
	Version      string   // exactly this one; "": the highest
	Refused      []string // versions that were rolled back on this node
	Force        bool     // also the same, a lower or a refused version
}

// ErrNoUpdate is wrapped when no target fits: the reason follows.
var ErrNoUpdate = errors.New("no update")

// Select picks the highest target of the node's architecture and channel that the running
// version may go to. Where the newest one wants a later version than runs, this is a
// stepping stone on the way. Force does not lift MinVersion: the data would not fit.
func Select(targets []Target, p Policy) (Target, error) {
	none := func(format string, args ...any) (Target, error) {
		return Target{}, fmt.Errorf("%w: %s", ErrNoUpdate, fmt.Sprintf(format, args...))
	}
	if !ValidVersion(p.Current) && !p.Force {
		return none("the running version %q is none like 1.2.3: nothing can be newer than it; force a version", p.Current)
	}
	fits := slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Architecture != p.Architecture })
	if len(fits) == 0 {
		return none("the repository has nothing for %s", p.Architecture)
	}
	fits = slices.DeleteFunc(fits, func(t Target) bool { return !slices.Contains(t.Channels, p.Channel) })
	if len(fits) == 0 {
		return none("the repository has nothing in channel %s for %s", p.Channel, p.Architecture)
	}
	if p.Version != "" {
		fits = slices.DeleteFunc(fits, func(t Target) bool { return t.Version != p.Version })
		if len(fits) == 0 {
			return none("version %s is not in channel %s for %s", p.Version, p.Channel, p.Architecture)
		}
	}
	slices.SortFunc(fits, func(a, b Target) int { return Compare(b.Version, a.Version) })
	var reason string // of the highest one
	for _, t := range fits {
		why := obstacle(t, p)
		if why == "" {
			return t, nil
		}
		if reason == "" {
			reason = why
		}
	}
	return none("%s", reason)
}

// obstacle says why the node may not go to t, "" when it may.
func obstacle(t Target, p Policy) string {
	if t.MinVersion != "" && (!ValidVersion(p.Current) || Compare(p.Current, t.MinVersion) < 0) {
		return fmt.Sprintf("%s can only follow %s or later, %s runs: a version between is needed first", t.Version, t.MinVersion, p.Current)
	}
	switch {
	case p.Force:
		return ""
	case Compare(t.Version, p.Current) == 0 && p.Version != "":
		return fmt.Sprintf("%s runs already", t.Version)
	case Compare(t.Version, p.Current) == 0:
		return fmt.Sprintf("%s is the newest in channel %s, and runs", t.Version, p.Channel)
	case Compare(t.Version, p.Current) < 0:
		return fmt.Sprintf("%s in channel %s is older than %s, which runs: going back must be forced", t.Version, p.Channel, p.Current)
	case slices.Contains(p.Refused, t.Version):
		return fmt.Sprintf("%s was rolled back on this node before: it must be forced", t.Version)
	}
	return ""
}
