package update

import (
	"slices"
	"strings"

	"kubesolo.io/os/internal/bootlog"
)

// Cause is why an update was taken back, in one of a few words: a metric has a
// series for each, and reasons are texts without end.
type Cause string

// The causes.
const (
	ByPanic     Cause = "panic"      // of the kernel, or the end of PID 1
	ByWatchdog  Cause = "watchdog"   // it hung
	ByTries     Cause = "tries"      // they were used up by power cuts, or by what left no trace
	ByLoading   Cause = "loading"    // kernel or initramfs could not be loaded
	ByCrashLoop Cause = "crash-loop" // of a service
	ByDeadline  Cause = "deadline"   // it was not found good in time
	ByHand      Cause = "by-hand"    // somebody said so
	ByOther     Cause = "other"
)

// Causes are all of them.
func Causes() []Cause {
	return []Cause{ByPanic, ByWatchdog, ByTries, ByLoading, ByCrashLoop, ByDeadline, ByHand, ByOther}
}

// Cause is that of the last way back in the history, "" when there is none.
func (s State) Cause() Cause {
	for _, e := range slices.Backward(s.History) {
		if e.Phase == RolledBack {
			return causeOf(e.Message)
		}
	}
	return ""
}

// causeOf knows the words in which ksinit and the engine give their reasons. What
// a service said last comes after the mark of a crash loop, so that is looked at
// first.
func causeOf(reason string) Cause {
	starts, with, _ := strings.Cut(reason, " starts without a verdict: ")
	last := strings.TrimPrefix(with, "the last ended by ")
	switch {
	case strings.HasPrefix(reason, "service ") && strings.Contains(reason, " is in a crash loop"):
		return ByCrashLoop
	case strings.HasPrefix(reason, "not found good within "):
		return ByDeadline
	case strings.HasPrefix(reason, "its kernel could not be loaded"):
		return ByLoading
	case strings.HasPrefix(reason, byHandOnTrial), strings.HasPrefix(reason, byHandLater):
		return ByHand
	case starts == reason:
		return ByOther
	case strings.HasPrefix(last, bootlog.Panic):
		return ByPanic
	case strings.HasPrefix(last, bootlog.Watchdog):
		return ByWatchdog
	}
	return ByTries
}

// What is said of a version that somebody left: of one on trial, and of one that
// had passed.
const (
	byHandOnTrial = "asked by "
	byHandLater   = "left by "
)
