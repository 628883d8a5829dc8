package small

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kubesolo.io/os/internal/abslot"
)

// plannedCut is a power cut after the first n requests of a log.
type plannedCut struct {
	n      int
	step   string
	torn   bool // both copies are half written, and all else that was not flushed is lost
	settle bool // the node is let go on until nothing is left to do
	// What the log says of the disk then, see diskBefore.
	phases   []string
	decided  bool
	bothTorn bool
}

const (
	leastCuts   = 3   // of each step
	leastRandom = 20  // at any request, besides those that have a reason
	leastTotal  = 200 // without those by kill -9
	settleEvery = 17  // of the cuts: that takes up to five boots. Prime to what -updateevery is
)

// chooseCuts chooses where to cut, from a step on: at every boundary of a request that
// touches a copy of the slot state or a file that says how far the update is, and in
// each step at least leastCuts times. Where the verdict is noted there is also one
// after the last flush: from there on it must show. The result is numbers of requests.
func chooseCuts(requests []request, steps []string, p updatePlaces, from string, random *rand.Rand) []int {
	first := max(0, slices.Index(steps, from))
	var at []int
	for i, r := range requests[first:] {
		i += first
		switch {
		case p.env[0].has(r) || p.env[1].has(r):
			at = append(at, i, i+1, i+2)
		case p.data.has(r) && noteIn(r) != "":
			at = append(at, throughJournal(requests, i)...)
			if note := noteIn(r); note == stepGood || note == stepRolledBack {
				at = append(at, noted(requests, i))
			}
		}
	}
	at = slices.DeleteFunc(at, func(n int) bool { return n > len(requests) })
	slices.Sort(at)
	at = slices.Compact(at)
	ends := map[string][]int{}
	for i := first; i < len(steps); i++ {
		ends[steps[i]] = append(ends[steps[i]], i+1)
	}
	for _, step := range updateSteps() {
		had := len(slices.DeleteFunc(slices.Clone(at), func(n int) bool { return n == 0 || steps[n-1] != step }))
		for ; len(ends[step]) > 0 && had < leastCuts; had++ {
			at = append(at, ends[step][random.IntN(len(ends[step]))])
		}
	}
	return at
}

// randomCuts adds cuts at any request of the steps from one on, until there are as
// many as wanted. None of those that were chosen is left out.
func randomCuts(at []int, steps []string, from string, want int, random *rand.Rand) ([]int, error) {
	if len(at) > want {
		return nil, fmt.Errorf("%d cuts were chosen, and there is room for %d", len(at), want)
	}
	first := max(0, slices.Index(steps, from))
	at = slices.Clone(at)
	for len(at) < want {
		at = append(at, first+1+random.IntN(len(steps)-first))
	}
	return at, nil
}

// planCuts says what to do at each of the places, in their order. With all, the
// first cut of each step is let go on to the end too.
func planCuts(at []int, steps []string, all bool) (cuts []plannedCut) {
	for i, n := range slices.Sorted(slices.Values(at)) {
		c := plannedCut{n: n, step: stepBefore}
		if n > 0 {
			c.step = steps[n-1]
		}
		c.settle = i%settleEvery == 0 || all && c.step != cuts[i-1].step
		cuts = append(cuts, c)
	}
	return cuts
}

// tornCuts are those where GRUB has written both copies, and the disk is in the middle
// of both.
func tornCuts(requests []request, steps []string, p updatePlaces) (cuts []plannedCut) {
	for left := range abslot.MaxTries {
		for i, r := range requests {
			if steps[i] == inBoth(changeCount(left)) && (p.env[0].has(r) || p.env[1].has(r)) {
				cuts = append(cuts, plannedCut{n: i + 1, step: stepTorn, torn: true, settle: true})
			}
		}
	}
	return cuts
}

// tornCopies are the writes that such a cut leaves. A flush between GRUB's two
// writes is QEMU's own, and no disk has to do it.
func tornCopies(requests []request, p updatePlaces) (kept []request, lost int) {
	first, seen := len(requests), [2]bool{}
	for i := len(requests) - 1; i >= 0 && (!seen[0] || !seen[1]); i-- {
		for n := range p.env {
			if p.env[n].has(requests[i]) && !seen[n] {
				seen[n], first = true, i
			}
		}
	}
	safe := 0
	for i, r := range requests[:first] {
		if r.flush {
			safe = i + 1
		}
	}
	kept = slices.Clone(requests[:safe])
	for _, r := range requests[safe:] {
		if p.env[0].has(r) || p.env[1].has(r) {
			r.data = r.data[:logSector]
			kept = append(kept, r)
		}
		if len(r.data) > 0 {
			lost++
		}
	}
	return kept, lost
}

// throughJournal are the boundaries after a file's content was written, until the
// two transactions that make it the file are on the disk: the one that gives it its
// blocks, and the one that renames it.
func throughJournal(requests []request, i int) (at []int) {
	for end := noted(requests, i); i < end; i++ {
		if requests[i].flush {
			continue // the disk is as after the write before it, with nothing lost
		}
		at = append(at, i+1)
	}
	return at
}

// noted is where those transactions are on the disk, with all of their flushes.
func noted(requests []request, i int) int {
	for flushes := 0; i < len(requests) && flushes < 4; i++ {
		if requests[i].flush {
			flushes++
		}
	}
	return i
}

func TestPlanCuts(t *testing.T) {
	p := updatePlaces{env: [2]extent{{0, abslot.Size}, {4096, abslot.Size}}, data: extent{8 << 20, 1 << 20}}
	data := func(text string) request {
		return request{at: 8 << 20, data: append([]byte(text), make([]byte, 512)...)}
	}
	env, journal, flush := request{at: 4096, data: make([]byte, 1024)}, data("journal"), request{flush: true}
	var requests []request
	var steps []string
	add := func(step string, r ...request) {
		for range r {
			steps = append(steps, step)
		}
		requests = append(requests, r...)
	}
	add(stepBefore, journal, flush)
	add(stepStaged, data("{\n \"phase\": \"staged\""), journal, flush, journal, flush, journal, flush, journal, flush, journal)
	add(stepArming, data("{\n \"phase\": \"armed\""), journal, flush)
	add(inFirst(changeArm), env, flush)
	add(stepGoingDown, journal, flush)
	add(stepGood, data("{\n \"phase\": \"good\""), flush, journal, flush, journal, flush, journal, flush, journal, journal)
	random := rand.New(rand.NewPCG(1, 2))
	all := chooseCuts(requests, steps, p, stepBefore, random)
	for _, want := range []int{3, 4, 6, 8, 10, 13, 14, 15, 16, 17, 20, 22, 24, 26, 27} {
		if !slices.Contains(all, want) {
			t.Errorf("no cut after %d requests: %v", want, all)
		}
	}
	count, settled := map[string]int{}, map[string]bool{}
	for _, c := range planCuts(all, steps, true) {
		count[c.step]++
		settled[c.step] = settled[c.step] || c.settle
	}
	for _, step := range steps {
		if count[step] < leastCuts || !settled[step] {
			t.Errorf("%s: %d cuts, settled %v", step, count[step], settled[step])
		}
	}
	if some := slices.DeleteFunc(planCuts(all, steps, false), func(c plannedCut) bool { return !c.settle }); len(some) != (len(all)+settleEvery-1)/settleEvery {
		t.Errorf("of %d cuts %d are let go on: %+v", len(all), len(some), some)
	}
	part := chooseCuts(requests, steps, p, stepArming, random)
	for _, want := range []int{len(part), 60} {
		got, err := randomCuts(part, steps, stepArming, want, random)
		if err != nil || len(got) != want || slices.ContainsFunc(got, func(n int) bool { return n < 12 || n > len(requests) }) || !slices.Equal(got[:len(part)], part) {
			t.Errorf("%d cuts from arming on: %v, %v", want, got, err)
		}
	}
	if got, err := randomCuts(part, steps, stepArming, len(part)-1, random); err == nil {
		t.Errorf("no room for one that was chosen: %v", got)
	}
}

func TestTornCuts(t *testing.T) {
	p := updatePlaces{env: [2]extent{{0, abslot.Size}, {4096, abslot.Size}}, data: extent{8 << 20, 1 << 20}}
	env := func(n int) request { return request{at: int64(n) * 4096, data: make([]byte, abslot.Size)} }
	journal, flush := request{at: 8 << 20, data: make([]byte, 512)}, request{flush: true}
	first, both := inFirst(changeCount(1)), inBoth(changeCount(1))
	steps := []string{stepTrial, stepTrial, stepTrial, first, first, both, both}
	// With and without the flush of QEMU's.
	for i, requests := range [][]request{{journal, flush, journal, env(1), flush, env(0), flush}, {journal, flush, journal, env(1), journal, env(0), flush}} {
		torn := tornCuts(requests, steps, p)
		if len(torn) != 1 || torn[0].n != 6 || torn[0].step != stepTorn || !torn[0].torn || !torn[0].settle {
			t.Fatalf("%+v: want one where both copies are torn", torn)
		}
		kept, lost := tornCopies(requests[:6], p)
		if len(kept) != 4 || lost != 3+i || kept[2].at != 4096 || kept[3].at != 0 || len(kept[2].data) != logSector || len(kept[3].data) != logSector {
			t.Errorf("%d: %d writes kept, %d lost: %+v", i, len(kept), lost, kept)
		}
	}
}
