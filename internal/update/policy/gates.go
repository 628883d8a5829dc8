package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

func (in Input) architecture() Gate {
	if in.Target.Architecture != in.Architecture {
		return closed(Architecture, "it is made for %s, and this machine is %s", word(in.Target.Architecture), in.Architecture)
	}
	return open(Architecture, "%s", in.Architecture)
}

func (in Input) channel() Gate {
	if slices.Contains(in.Target.Channels, in.Channel) {
		return open(Channel, "%s", in.Channel)
	}
	var of []string
	for _, name := range in.Target.Channels {
		of = append(of, word(name))
	}
	if len(of) == 0 {
		of = []string{"no channel"}
	}
	return closed(Channel, "it is in %s, and this node takes %s; set update.channel to take others", strings.Join(of, ", "), in.Channel)
}

func (in Input) version() Gate {
	switch {
	case !valid(in.Target.Version):
		return closed(Version, "%s is no version such as 1.2.3", word(in.Target.Version))
	case !valid(in.Running):
		return closed(Version, "%s runs, which is no version such as 1.2.3: nothing can be said to be newer", word(in.Running))
	}
	switch compare(in.Target.Version, in.Running) {
	case 0:
		return closed(Version, "%s runs already", in.Running)
	case -1:
		return closed(Version, "%s is older than %s, which runs; to go back is ksctl update rollback", in.Target.Version, in.Running)
	}
	return open(Version, "%s follows %s", in.Target.Version, in.Running)
}

func (in Input) minimumVersion() Gate {
	least := in.Target.MinVersion
	switch {
	case least == "":
		return open(MinimumVersion, "any")
	case !valid(least):
		return closed(MinimumVersion, "its metadata asks for %s, which is no version such as 1.2.3", word(least))
	case !valid(in.Running):
		return closed(MinimumVersion, "it needs %s, and %s runs, which is no version such as 1.2.3", least, word(in.Running))
	case compare(in.Running, least) < 0:
		return closed(MinimumVersion, "it needs %s, and %s runs; install a version between them first", least, in.Running)
	}
	return open(MinimumVersion, "%s or newer", least)
}

func (in Input) slotSize() Gate {
	switch {
	case in.SlotSize == 0:
		return closed(SlotSize, "there is no second slot to write it to; updates need the disk image, not the ISO")
	case in.Target.Size > in.SlotSize:
		return closed(SlotSize, "it has %s, and the slot %s", megabytes(in.Target.Size), megabytes(in.SlotSize))
	}
	return open(SlotSize, "%s of %s", megabytes(in.Target.Size), megabytes(in.SlotSize))
}

func (in Input) freeSpace() Gate {
	if in.NeedSpace > in.FreeSpace {
		return closed(FreeSpace, "a copy of the database is made before the update: it needs %s, and %s of the data partition are free; remove what is not needed",
			megabytes(in.NeedSpace), megabytes(in.FreeSpace))
	}
	return open(FreeSpace, "%s needed, %s free", megabytes(in.NeedSpace), megabytes(in.FreeSpace))
}

func (in Input) knownBad() Gate {
	for _, r := range slices.Backward(in.Refused) {
		if r.Version == in.Target.Version {
			return closed(KnownBad, "%s was tried at %s and left: %s", word(r.Version), clock(r.At), r.Reason)
		}
	}
	return open(KnownBad, "not tried before")
}

// label: what is set and is not false was meant to block, whatever the word. A
// cluster that cannot be asked may be one that says no.
func (in Input) label() Gate {
	switch {
	case in.LabelErr != nil:
		return closed(Label, "the labels of the node could not be read: %v", in.LabelErr)
	case in.Label != "" && in.Label != "false":
		return closed(Label, "the node is labelled %s=%s; kubectl label node --all %s- takes it off", BlockLabel, word(in.Label), BlockLabel)
	}
	return open(Label, "%s is not set", BlockLabel)
}

func (in Input) window() Gate {
	switch {
	case in.Window.Always():
		return open(Window, "always")
	case in.Window.Open(in.Now):
		return open(Window, "%s UTC", in.Window)
	}
	next := in.Window.Next(in.Now)
	g := closed(Window, "it is %s UTC, and opens at %s", in.Window, clock(next))
	g.Until = next
	return g
}

// valid and compare know versions without the v that package semver wants.
func valid(version string) bool { return semver.IsValid("v" + version) }

func compare(a, b string) int { return semver.Compare("v"+a, "v"+b) }

// word shows what metadata holds as one short word.
func word(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-+_", r)
	}
	if s == "" || len(s) > 60 || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return fmt.Sprintf("%.60q", s)
	}
	return s
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
