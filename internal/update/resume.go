package update

import (
	"fmt"
	"time"

	"kubesolo.io/os/internal/control"
)

// Action is what an update does next.
type Action string

// The actions. Each is safe to begin anew after a power cut in it.
const (
	Rest     Action = "rest"     // nothing is under way
	Download Action = "download" // go on with the download
	Try      Action = "try"      // verify the slot, arm it, restart
	Reboot   Action = "reboot"   // armed: restart
	Disarm   Action = "disarm"   // GRUB does not start it: take the order back
	Verdict  Action = "verdict"  // judge the trial
	Restore  Action = "restore"  // bring the database of before back, if there is a copy
)

// maxArms is how often a slot is armed that never came to its trial: more than
// any series of power cuts in the second between two writes.
const maxArms = 3

// Resume says, at the start of the agent, where an update stands. What ksinit
// found in the environment block has the last word, and the file only adds to it:
// a node whose data partition is new or lost its file still judges a trial that
// runs. boot names this boot.
func Resume(s State, slots control.Slots, boot, version string, now time.Time) (State, Action) {
	switch {
	case slots.OnTrial:
		if s.Slot != slots.Running || !s.Phase.Busy() {
			// Armed by somebody who left no note.
			s = s.Begin("", slots.Running, Payload{Version: version, From: "unknown"}, Order{}, now)
		}
		if s.Phase != Judging {
			s = s.Judge(now)
		}
		return s, Verdict
	case s.Phase == Downloading:
		return s, Download
	case s.Phase == Staged:
		return s, Try
	case s.Phase == RolledBack && s.Copy != "":
		return s, Restore
	case s.Phase != Armed && s.Phase != Judging:
		return s, Rest
	case slots.Good == s.Slot:
		// Committed, and the power went before that was written down.
		return s.Pass("", now), Rest
	case slots.Trial == s.Slot && slots.Running == s.Slot:
		// The slot was started by hand. The next boot tries it.
		return s, Rest
	case slots.Trial == s.Slot && s.Boot == boot:
		return s, Reboot
	case slots.Trial == s.Slot && s.Arms >= maxArms:
		return s.Fail(fmt.Sprintf("GRUB did not start it, %d times", s.Arms), now), Disarm
	case slots.Trial == s.Slot:
		// The power went before the restart, or a person chose the other slot.
		return s.Arm(boot, s.Copy, s.Generation, now), Reboot
	case s.Phase == Armed && s.Boot == boot:
		return s.again("was not armed", now)
	case slots.Verdict != nil && slots.Verdict.Slot == s.Slot && slots.Verdict.Generation > s.Generation:
		return s.RollBack(slots.Verdict.Reason, now), Restore
	case s.Phase == Armed:
		return s.again("the power went before it was armed", now)
	default:
		return s.RollBack("the trial ended without a reason that could be kept", now), Restore
	}
}

// again goes back to a slot that is written and was never tried.
func (s State) again(why string, now time.Time) (State, Action) {
	if s.Arms >= maxArms {
		return s.Fail(fmt.Sprintf("%s, %d times", why, s.Arms), now), Rest
	}
	return s.to(Staged, why, now), Try
}
