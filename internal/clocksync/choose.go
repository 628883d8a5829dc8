package clocksync

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Measurement is what one server is worth in this round.
type Measurement struct {
	Server string
	Sample
}

// A Choice is the outcome of a round.
type Choice struct {
	Measurement               // the best of those that agree
	Agree       []Measurement // all that agree
	Refused     []Measurement // the others
}

// Choose applies the intersection algorithm (Marzullo's, as in RFC 5905
// §11.2.1): each server claims an interval that holds the true offset, and the
// largest group whose intervals meet is right, if it is more than half of all.
// A single server is believed. Of two that do not meet neither is: nothing
// tells which one is wrong.
func Choose(all []Measurement) (Choice, error) {
	low, high, ok := intersection(all)
	if !ok {
		return Choice{}, disagreement(all)
	}
	var c Choice
	for _, m := range all {
		if m.Offset-m.Distance <= high && m.Offset+m.Distance >= low {
			c.Agree = append(c.Agree, m)
		} else {
			c.Refused = append(c.Refused, m)
		}
	}
	c.Measurement = slices.MinFunc(c.Agree, func(a, b Measurement) int { return cmp.Compare(a.Distance, b.Distance) })
	return c, nil
}

// intersection finds the smallest interval that holds a point of the largest
// group from each end.
func intersection(all []Measurement) (low, high time.Duration, ok bool) {
	type edge struct {
		at   time.Duration
		step int // +1: an interval begins; -1: it ends
	}
	var edges []edge
	for _, m := range all {
		edges = append(edges, edge{m.Offset - m.Distance, 1}, edge{m.Offset + m.Distance, -1})
	}
	// Intervals that only touch do meet: beginnings first.
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.step, a.step)) })
	for group := len(all); 2*group > len(all); group-- {
		found := false
		count := 0
		for _, e := range edges {
			if count += e.step; count >= group {
				low, found = e.at, true
				break
			}
		}
		count = 0
		for _, e := range slices.Backward(edges) {
			if count -= e.step; count >= group {
				high = e.at
				break
			}
		}
		if found {
			return low, high, true
		}
	}
	return 0, 0, false
}

func disagreement(all []Measurement) error {
	if len(all) == 0 {
		return errNoAnswer
	}
	var parts []string
	for _, m := range all {
		parts = append(parts, fmt.Sprintf("%s says %s", m.Server, signed(m.Offset)))
	}
	hint := "no majority agrees"
	if len(all) == 2 {
		hint = "a third one would tell which is right"
	}
	return fmt.Errorf("the time servers disagree: %s; %s", strings.Join(parts, ", "), hint)
}

// signed is a duration with its sign, rounded to what a person reads.
func signed(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs >= 48*time.Hour:
		return fmt.Sprintf("%+.1f days", d.Hours()/24)
	case abs >= time.Second:
		return fmt.Sprintf("%+.1f s", d.Seconds())
	case abs >= time.Millisecond:
		return fmt.Sprintf("%+.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%+d us", d.Microseconds())
}
