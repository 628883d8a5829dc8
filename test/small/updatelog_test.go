package small

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/update"
)

// updateKind is an update whose power is cut.
type updateKind struct {
	title   string
	cutFrom string   // the step; until there it is as another one
	steps   []string // that it has from there on: each has to be in the log, and to be cut
}

// updateKinds are all, in the order in which they are done.
func updateKinds() []updateKind {
	both := func(changes ...string) (steps []string) {
		for _, c := range changes {
			steps = append(steps, inFirst(c), inBoth(c))
		}
		return steps
	}
	arming := slices.Concat([]string{stepArming}, both(changeArm), []string{stepGoingDown}, both(changeCount(2)))
	back := slices.Concat([]string{stepVerdict}, both(changeRollBack), []string{stepWayBack, stepRolledBack, stepRestored})
	return []updateKind{
		{"A good update, from A to B", stepBefore, slices.Concat(
			[]string{stepBefore, stepNoted, stepClosed, stepDownload, stepReadBack, stepOpening, stepOpened, stepStaged},
			arming, []string{stepTrial, stepJudging}, both(changeCommit), []string{stepGood})},
		{"An update of A to a B that is never healthy", stepArming, slices.Concat(arming, []string{stepTrial, stepJudging}, back)},
		{"An update of B to an A that panics", stepArming, slices.Concat(arming, both(changeCount(1), changeCount(0)), back)},
	}
}

// torn is how often GRUB counts down.
func (k updateKind) torn() (n int) {
	for left := range abslot.MaxTries {
		if slices.Contains(k.steps, inBoth(changeCount(left))) {
			n++
		}
	}
	return n
}

// checkPlan says what is missing: a step that the log does not have, or that no cut
// is in.
func (k updateKind) checkPlan(steps []string, cuts []plannedCut) error {
	var errs []error
	count := map[string]int{}
	for _, c := range cuts {
		count[c.step]++
	}
	for _, step := range k.steps {
		if !slices.Contains(steps, step) {
			errs = append(errs, fmt.Errorf("the log has no step %q", step))
		}
		if count[step] < leastCuts {
			errs = append(errs, fmt.Errorf("%d cuts in the step %q, want %d", count[step], step, leastCuts))
		}
	}
	if count[stepTorn] != k.torn() {
		errs = append(errs, fmt.Errorf("%d cuts that tear both copies, want %d", count[stepTorn], k.torn()))
	}
	return errors.Join(errs...)
}

// checkWrites looks at all writes of an update: to the copies of the slot state, to the
// data partition, and to the slot that gets the new version until it has it. The
// disk's other parts, which are its tables, GRUB, and the running slot, get none. The
// node has each copy on the disk before it touches the other; only GRUB cannot.
func (p updatePlaces) checkWrites(requests []request, steps []string) error {
	staged, unflushed := false, [2]bool{}
	for i, r := range requests {
		staged = staged || steps[i] == stepStaged
		if r.flush {
			unflushed = [2]bool{}
		}
		if len(r.data) == 0 {
			continue
		}
		what := fmt.Sprintf("request %d (%s) writes %d bytes at %#x", i, steps[i], len(r.data), r.at)
		if !p.env[0].holds(r) && !p.env[1].holds(r) && !p.data.holds(r) && !p.passive.holds(r) {
			return fmt.Errorf("%s: an update has no business there", what)
		}
		if p.passive.holds(r) && staged {
			return fmt.Errorf("%s: the slot has its version already", what)
		}
		for n := range p.env {
			if !p.env[n].holds(r) {
				continue
			}
			if len(r.data) != abslot.Size {
				return fmt.Errorf("%s: not all of the copy", what)
			}
			if unflushed[1-n] && !strings.HasPrefix(steps[i], "GRUB counts down") {
				return fmt.Errorf("%s: the other copy is not on the disk yet", what)
			}
			unflushed[n] = true
		}
	}
	return nil
}

// decided says whether the slot state has the verdict on the disk, as the last
// of these requests leave it: in one copy, and with a flush after it.
func decided(requests []request, steps []string) bool {
	written := false
	for i, r := range requests {
		if written && r.flush {
			return true
		}
		written = written || steps[i] == inFirst(changeCommit) || steps[i] == inFirst(changeRollBack)
	}
	return false
}

// bothTorn says whether a cut may tear both copies: no flush is between them.
func bothTorn(requests []request, p updatePlaces) bool {
	unflushed := [2]bool{}
	for _, r := range requests {
		if r.flush {
			unflushed = [2]bool{}
		}
		for n := range p.env {
			unflushed[n] = unflushed[n] || p.env[n].has(r)
		}
	}
	return unflushed[0] && unflushed[1]
}

// phasesAt are those that the state of updates may be in after these requests, where it
// was in a phase before them. One that was noted is there after four flushes, or when
// the engine does its next thing; before that it may be. ksinit's own verdict
// is written beside it, and then the flushes may be of that.
func phasesAt(before string, requests []request, p updatePlaces) []string {
	durable, pending, flushes, mixed := before, "", 0, false
	for _, r := range requests {
		note := ""
		if p.data.has(r) {
			note = noteIn(r)
		}
		phase, noting := notes[note]
		if pending != "" && (noting || note == stepDownload || p.passive.has(r)) {
			durable, pending = pending, ""
		}
		switch {
		case noting:
			pending, flushes, mixed = string(phase), 0, false
		case note == stepVerdict:
			mixed = pending != ""
		case r.flush:
			flushes++
		}
		if pending != "" && flushes == 4 && !mixed {
			durable, pending = pending, ""
		}
	}
	if pending == "" {
		return []string{durable}
	}
	return []string{durable, pending}
}

func TestCheckPlan(t *testing.T) {
	for _, k := range updateKinds() {
		steps := k.steps
		var cuts []plannedCut
		for _, step := range steps {
			for range leastCuts {
				cuts = append(cuts, plannedCut{step: step})
			}
		}
		for range k.torn() {
			cuts = append(cuts, plannedCut{step: stepTorn})
		}
		if err := k.checkPlan(steps, cuts); err != nil {
			t.Errorf("%s: %v", k.title, err)
		}
		if err := k.checkPlan(steps[1:], cuts); err == nil || !strings.Contains(err.Error(), "no step") {
			t.Errorf("%s: a step is missing: %v", k.title, err)
		}
		if err := k.checkPlan(steps, cuts[1:]); err == nil || !strings.Contains(err.Error(), "2 cuts in the step") {
			t.Errorf("%s: a cut is missing: %v", k.title, err)
		}
		if err := k.checkPlan(steps, cuts[:len(cuts)-1]); err == nil || !strings.Contains(err.Error(), "tear both") {
			t.Errorf("%s: nothing is torn: %v", k.title, err)
		}
		for _, step := range steps {
			if !slices.Contains(updateSteps(), step) {
				t.Errorf("%s: %q is no step of the table", k.title, step)
			}
		}
	}
	if k := updateKinds(); k[0].torn() != 1 || k[1].torn() != 1 || k[2].torn() != 3 {
		t.Errorf("torn: %d, %d and %d", k[0].torn(), k[1].torn(), k[2].torn())
	}
}

func TestCheckWrites(t *testing.T) {
	p := updatePlaces{env: [2]extent{{8192, abslot.Size}, {16384, abslot.Size}}, passive: extent{1 << 20, 1 << 20}, data: extent{8 << 20, 1 << 20}}
	write := func(at, size int64) request { return request{at: at, data: make([]byte, size)} }
	flush, first, second, slot, data := request{flush: true}, write(16384, 1024), write(8192, 1024), write(1<<20, 4096), write(8<<20, 4096)
	for _, test := range []struct {
		name     string
		requests []request
		step     string // of the last one
		want     string
	}{
		{"as it should be", []request{data, slot, flush, first, flush, second, flush, data}, stepGood, ""},
		{"GRUB", []request{first, second}, inBoth(changeCount(2)), ""},
		{"the node without a flush", []request{first, second}, inBoth(changeCommit), "the other copy"},
		{"half a copy", []request{write(8192, 512)}, inFirst(changeCommit), "not all"},
		{"beside the copies", []request{write(8192+1024, 512)}, stepTrial, "no business"},
		{"over the end of one", []request{write(8192, 4096)}, stepTrial, "no business"},
		{"the table", []request{write(512, 512)}, stepTrial, "no business"},
		{"the slot that runs", []request{write(2<<20, 512)}, stepTrial, "no business"},
		{"behind the data", []request{write(9<<20-512, 1024)}, stepTrial, "no business"},
		{"the slot when it has its version", []request{slot}, stepStaged, "already"},
	} {
		steps := append(slices.Repeat([]string{stepBefore}, len(test.requests)-1), test.step)
		err := p.checkWrites(test.requests, steps)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if !bothTorn([]request{flush, first, second}, p) || bothTorn([]request{first, flush, second}, p) || bothTorn([]request{first, second, flush}, p) {
		t.Error("both copies are torn where no flush is after them, and only there")
	}
	steps := []string{stepJudging, inFirst(changeCommit), inFirst(changeCommit), inBoth(changeCommit)}
	requests := []request{flush, first, flush, second}
	for n, want := range []bool{false, false, false, true, true} {
		if got := decided(requests[:n], steps); got != want {
			t.Errorf("decided after %d requests: %v", n, got)
		}
	}
}

func TestPhasesAt(t *testing.T) {
	p := updatePlaces{passive: extent{1 << 20, 1 << 20}, data: extent{8 << 20, 1 << 20}}
	data := func(text string) request {
		return request{at: 8 << 20, data: append([]byte(text), make([]byte, 4096-len(text))...)}
	}
	note := func(phase update.Phase) request { return data("{\n \"phase\": \"" + string(phase) + "\"") }
	journal, flush, slot := data("journal"), request{flush: true}, request{at: 1 << 20, data: make([]byte, 512)}
	requests := []request{journal, note(update.Downloading), flush, slot, note(update.Staged), journal, flush, journal, flush, journal, flush, journal, flush,
		note(update.Judging), flush, data(`{"slot":"B"`), flush, flush, flush, flush, note(update.RolledBack)}
	for n, want := range []string{"idle", "idle", "idle downloading", "idle downloading", "downloading", "downloading staged", "downloading staged",
		"downloading staged", "downloading staged", "downloading staged", "downloading staged", "downloading staged", "downloading staged", "staged",
		"staged judging", "staged judging", "staged judging", "staged judging", "staged judging", "staged judging", "staged judging", "judging rolled-back"} {
		if got := strings.Join(phasesAt("idle", requests[:n], p), " "); got != want {
			t.Errorf("after %d requests: %s, want %s", n, got, want)
		}
	}
}
