package clocksync

import (
	"fmt"
	"time"
)

const (
	// stepThreshold is RFC 5905's STEPT (§11.3, figure 27): offsets from here
	// on are not worth slewing.
	stepThreshold = 128 * time.Millisecond
	// Polls are 2^6 to 2^10 seconds apart (RFC 5905 §7.2, MINPOLL; its
	// default MAXPOLL of servers in use is 10).
	minPoll, maxPoll = 6, 10
	// calm and restless: offsets below and above which polls get rarer and
	// more frequent. A poll of 1024 s and a crystal that changes by 10 ppm
	// with the temperature give 10 ms.
	calm, restless = 8 * time.Millisecond, 32 * time.Millisecond
)

// Kinds of correction.
type correction int

const (
	slew   correction = iota
	step              // the clock jumps
	watch             // ask again soon before a step is believed
	refuse            // the time is impossible
)

// discipline decides what to do about an offset.
type discipline struct {
	floor  time.Time // surely past
	synced bool      // the clock has been right since the boot
	seen   time.Duration
	poll   int // exponent
	calm   int // calm polls in a row
}

// decide is called with each offset that is believed, and what the clock shows.
//
// The first correction of a boot may be a step at once. Later an offset that
// large is more likely a fault of a server or of the network, so it has to be
// there again at the next poll (RFC 5905 waits 900 s; a clock in a virtual
// machine that was stopped should be right sooner).
func (d *discipline) decide(offset time.Duration, now time.Time) (correction, error) {
	if shown := now.Add(offset); shown.Before(d.floor) {
		d.poll = minPoll
		return refuse, fmt.Errorf("the time servers say %s, which is before this system was built (%s)",
			shown.UTC().Format(time.DateOnly), d.floor.UTC().Format(time.DateOnly))
	}
	seen := d.seen
	d.seen = 0
	if offset.Abs() < stepThreshold {
		d.synced = true
		d.adapt(offset)
		return slew, nil
	}
	d.poll, d.calm = minPoll, 0
	if d.synced && (offset-seen).Abs() >= stepThreshold {
		d.seen = offset
		return watch, nil
	}
	d.synced = true
	return step, nil
}

// adapt chooses the time to the next poll: longer after two calm ones.
func (d *discipline) adapt(offset time.Duration) {
	d.poll = max(d.poll, minPoll)
	switch {
	case offset.Abs() > restless:
		d.poll, d.calm = max(d.poll-1, minPoll), 0
	case offset.Abs() > calm:
		d.calm = 0
	case d.calm > 0:
		d.poll, d.calm = min(d.poll+1, maxPoll), 0
	default:
		d.calm++
	}
}

// pause is the time between polls.
func (d *discipline) pause() time.Duration { return time.Second << max(d.poll, minPoll) }
