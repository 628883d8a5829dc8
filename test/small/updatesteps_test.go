package small

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/update"
)

// extent is a part of a disk, in bytes.
type extent struct{ at, size int64 }

func (e extent) has(r request) bool { return r.at >= e.at && r.at < e.at+e.size && len(r.data) > 0 }

// holds says whether all of a request lies there.
func (e extent) holds(r request) bool {
	return r.at >= e.at && r.at+int64(len(r.data)) <= e.at+e.size
}

// updatePlaces are what a request is told by.
type updatePlaces struct {
	env     [2]extent // the copies of the slot state
	passive extent    // the slot that is written
	data    extent
}

// Steps of an update, in the order in which they come. A cut belongs to the last
// step of which something had reached the disk's cache.
const (
	stepBefore     = "nothing of it is written"
	stepNoted      = "the download is noted"
	stepClosed     = "the old image is closed"
	stepDownload   = "downloading"
	stepReadBack   = "reading back"
	stepOpening    = "the image is opened, but for its first sector"
	stepOpened     = "the image is opened"
	stepStaged     = "staged"
	stepArming     = "arming is noted"
	stepGoingDown  = "armed, going down"
	stepTorn       = "GRUB counts down, and both copies are torn"
	stepTrial      = "the trial starts"
	stepJudging    = "judging is noted"
	stepGood       = "good is noted"
	stepVerdict    = "the verdict is kept"
	stepWayBack    = "on the way to the old slot"
	stepRolledBack = "rolled back is noted"
	stepRestored   = "the database is restored"
)

// What changes in the copies, each in the first and then in both.
const (
	changeArm      = "arming"
	changeCommit   = "commit"
	changeRollBack = "rollback"
)

func changeCount(left int) string { return fmt.Sprintf("GRUB counts down to %d", left) }

// notes are the phases of the steps that note one.
var notes = map[string]update.Phase{stepNoted: update.Downloading, stepStaged: update.Staged, stepArming: update.Armed,
	stepJudging: update.Judging, stepGood: update.Good, stepRolledBack: update.RolledBack}

func inFirst(change string) string { return change + ", the first copy" }
func inBoth(change string) string  { return change + ", both copies" }

// updateSteps are all, for the order of the table.
func updateSteps() []string {
	all := []string{stepBefore, stepNoted, stepClosed, stepDownload, stepReadBack, stepOpening, stepOpened, stepStaged, stepArming,
		inFirst(changeArm), inBoth(changeArm), stepGoingDown}
	for left := abslot.MaxTries - 1; left >= 0; left-- {
		all = append(all, inFirst(changeCount(left)), inBoth(changeCount(left)))
		if left == abslot.MaxTries-1 {
			all = append(all, stepTrial, stepJudging)
		}
	}
	return append(all, stepTorn, inFirst(changeCommit), inBoth(changeCommit), stepGood, stepVerdict,
		inFirst(changeRollBack), inBoth(changeRollBack), stepWayBack, stepRolledBack, stepRestored)
}

// noteIn is what a write to the data partition says, "" for nothing: the files are
// small, and in a block of their own.
func noteIn(r request) string {
	begins := map[string]string{stepVerdict: `{"slot":`, stepDownload: `{"target":`}
	for note, phase := range notes {
		begins[note] = fmt.Sprintf("{\n \"phase\": %q", phase)
	}
	for note, begin := range begins {
		for at := 0; at < len(r.data); at += 4096 {
			if bytes.HasPrefix(r.data[at:], []byte(begin)) {
				return note
			}
		}
	}
	return ""
}

// stepsOf gives the step of each request of a log. The copies are those of the disk
// before it.
func stepsOf(requests []request, p updatePlaces, copies abslot.Copies) []string {
	var steps []string
	lastBody := 0
	for i, r := range requests {
		if p.passive.has(r) && r.at >= p.passive.at+4096 {
			lastBody = i
		}
	}
	step := stepBefore
	for i, r := range requests {
		switch {
		case r.flush && step == stepDownload && i > lastBody:
			step = stepReadBack
		case p.passive.has(r):
			step = passiveStep(r, p.passive, step)
		case p.data.has(r):
			step = dataStep(r, step)
		}
		for n := range p.env {
			if p.env[n].has(r) {
				before := copies[n]
				copies[n] = slices.Clone(copies[n])
				copy(copies[n][r.at-p.env[n].at:], r.data)
				step = envStep(before, copies[n], copies[1-n], step)
			}
		}
		steps = append(steps, step)
	}
	return steps
}

func passiveStep(r request, passive extent, step string) string {
	first := r.data[:min(len(r.data), logSector)]
	switch zero := len(bytes.Trim(first, "\x00")) == 0; {
	case r.at >= passive.at+4096:
		return stepDownload
	case !zero && r.at == passive.at:
		return stepOpened
	case step == stepBefore || step == stepNoted || step == stepClosed:
		return stepClosed
	}
	return stepOpening
}

func dataStep(r request, step string) string {
	note := noteIn(r)
	switch {
	case note == stepRolledBack && (step == stepRolledBack || step == stepRestored):
		return stepRestored
	case note == stepDownload:
		return step // how much of it is there
	case note != "":
		return note
	case step == inBoth(changeArm):
		return stepGoingDown
	case step == inBoth(changeRollBack):
		return stepWayBack
	case strings.HasPrefix(step, inBoth(changeCount(abslot.MaxTries-1))):
		return stepTrial
	}
	return step
}

// envStep tells a change by the copy before and after it. A write is of all of a
// copy; one that leaves it invalid is not told from what was before.
func envStep(before, after, other []byte, step string) string {
	old, err1 := abslot.Decode(before)
	now, err2 := abslot.Decode(after)
	if err1 != nil || err2 != nil || old == now {
		return step
	}
	change := changeRollBack
	switch {
	case now.Armed() && !old.Armed():
		change = changeArm
	case now.Armed():
		change = changeCount(now.Tries)
	case now.Good != old.Good:
		change = changeCommit
	}
	if bytes.Equal(after, other) {
		return inBoth(change)
	}
	return inFirst(change)
}

func TestStepsOf(t *testing.T) {
	p := updatePlaces{env: [2]extent{{0, abslot.Size}, {4096, abslot.Size}}, passive: extent{1 << 20, 1 << 20}, data: extent{8 << 20, 1 << 20}}
	block := func(s abslot.State) []byte {
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	idle := block(abslot.First(abslot.A))
	armed := func(tries int) []byte {
		return block(abslot.State{Generation: 2, Good: abslot.A, Trial: abslot.B, Tries: tries})
	}
	done := func(good abslot.Slot) []byte {
		return block(abslot.State{Generation: 3, Good: good, Trial: abslot.None})
	}
	data := func(text string) request {
		return request{at: 8<<20 + 4096, data: append([]byte(text), make([]byte, 4096-len(text))...)}
	}
	phase := func(name string) request { return data("{\n \"phase\": \"" + name + "\",\n \"more\": 1}") }
	journal, flush := data("\xc0\x3b\x39\x98"), request{flush: true}
	head, body := make([]byte, 4096), request{at: 1<<20 + 4096, data: make([]byte, 8192)}
	image := append([]byte("hsqs"), make([]byte, 4092)...)
	rest := append(make([]byte, 512), bytes.Repeat([]byte{1}, 3584)...)
	env := func(i int, b []byte) request { return request{at: int64(i) * 4096, data: b} }
	before := []struct {
		r    request
		want string
	}{
		{journal, stepBefore}, {phase("downloading"), stepNoted}, {journal, stepNoted}, {flush, stepNoted},
		{request{at: 1 << 20, data: head}, stepClosed}, {flush, stepClosed}, {request{at: 1 << 20, data: head}, stepClosed},
		{body, stepDownload}, {flush, stepDownload}, {data(`{"target":"x"}`), stepDownload}, {body, stepDownload}, {flush, stepReadBack},
		{data(`{"target":"x"}`), stepReadBack},
		{request{at: 1 << 20, data: rest}, stepOpening}, {flush, stepOpening}, {request{at: 1 << 20, data: image}, stepOpened}, {flush, stepOpened},
		{phase("staged"), stepStaged}, {journal, stepStaged}, {phase("armed"), stepArming},
		{env(1, armed(3)), "arming, the first copy"}, {flush, "arming, the first copy"}, {env(0, armed(3)), "arming, both copies"},
		{flush, "arming, both copies"}, {journal, stepGoingDown},
		{env(1, armed(2)), "GRUB counts down to 2, the first copy"}, {env(0, armed(2)), "GRUB counts down to 2, both copies"}, {flush, "GRUB counts down to 2, both copies"},
	}
	after := map[string][]struct {
		r    request
		want string
	}{
		"good": {{journal, stepTrial}, {phase("judging"), stepJudging}, {env(1, done(abslot.B)), "commit, the first copy"},
			{env(0, done(abslot.B)), "commit, both copies"}, {phase("good"), stepGood}, {journal, stepGood}},
		"bad": {{env(1, armed(1)), "GRUB counts down to 1, the first copy"}, {env(0, armed(1)), "GRUB counts down to 1, both copies"},
			{data(`{"slot":"B"}`), stepVerdict}, {env(1, done(abslot.A)), "rollback, the first copy"}, {env(0, done(abslot.A)), "rollback, both copies"},
			{journal, stepWayBack}, {phase("rolled-back"), stepRolledBack}, {journal, stepRolledBack}, {phase("rolled-back"), stepRestored}},
	}
	known := updateSteps()
	for name, end := range after {
		var requests []request
		var want []string
		for _, x := range append(slices.Clone(before), end...) {
			requests, want = append(requests, x.r), append(want, x.want)
		}
		got := stepsOf(requests, p, abslot.Copies{idle, idle})
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: request %d is of step %q, want %q", name, i, got[i], want[i])
			}
			if !slices.Contains(known, want[i]) {
				t.Errorf("%q is no step of the table", want[i])
			}
		}
	}
}
