package kube

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"kubesolo.io/os/internal/update"
)

// delay is an order that was not taken, and when it is tried again.
type delay struct {
	generation int64
	why        string
	pause      time.Duration
	until      time.Time
}

// Pauses after an order that was not taken: a server may be away for days.
const (
	minDelay = 30 * time.Second
	maxDelay = time.Hour
)

// again is the delay after one more refusal of the same generation.
func (d delay) again(o object, why string, now time.Time) delay {
	pause := minDelay
	if d.generation == o.Metadata.Generation && d.pause > 0 {
		pause = min(2*d.pause, maxDelay)
	}
	return delay{o.Metadata.Generation, why, pause, now.Add(pause)}
}

func (d delay) message() string {
	return d.why + "; tried again at " + d.until.UTC().Format(time.RFC3339)
}

// decide gives the status that each object should have, by UID, and the object
// whose order is next, nil for none: the oldest that has not been ordered, when
// nothing is under way.
func decide(list []object, s update.Status, delays map[string]delay, now time.Time) (wanted map[string]status, next *object) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b object) int {
		return cmp.Or(a.Metadata.CreationTimestamp.Compare(b.Metadata.CreationTimestamp), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	wanted = map[string]status{}
	var first string // of those that wait
	for i, o := range list {
		if o.Metadata.DeletionTimestamp != nil {
			continue
		}
		d, delayed := delays[o.Metadata.UID]
		delayed = delayed && d.generation == o.Metadata.Generation
		if !delayed {
			if is, known := o.known(s, now); known {
				wanted[o.Metadata.UID] = is
				continue
			}
		}
		switch {
		case s.State.Phase.Busy():
			wanted[o.Metadata.UID] = o.with(pending, reasonWaiting, "waits for the end of the update to "+cmp.Or(s.State.Payload.Version, "another version"), now)
		case o.Spec.Version != "" && o.Spec.Version == s.Version:
			wanted[o.Metadata.UID] = o.runs(s, now)
		case delayed && now.Before(d.until):
			wanted[o.Metadata.UID] = o.with(pending, reasonNotTaken, d.message(), now)
		case next != nil:
			wanted[o.Metadata.UID] = o.with(pending, reasonWaiting, "waits for "+first+", which is older", now)
		default:
			next, first = &list[i], "osupdate/"+o.Metadata.Name
			is := o.with(pending, reasonOrdered, "", now)
			is.Attempt = s.State.Attempts + 1
			wanted[o.Metadata.UID] = is
		}
	}
	return wanted, next
}

// known gives the status of an object that has been ordered; known is false when
// it has not, or when it is certain that nothing came of it.
func (o object) known(s update.Status, now time.Time) (is status, known bool) {
	old, st := o.Status, s.State
	if old.ObservedGeneration != o.Metadata.Generation {
		return status{}, false
	}
	began := old.StartedAt != nil
	switch {
	case old.Attempt == 0:
		return old, final(old.Phase) // there was nothing to do, or it was rejected
	case old.Attempt == st.Attempts && o.isOf(st):
		return o.mirror(s, now), true
	case final(old.Phase):
		return old, true
	case !began && old.Attempt >= st.Attempts:
		return status{}, false // the power went between the note and the order
	}
	if end, found := ended(st.History, old.StartedAt, st.Attempts-old.Attempt); found {
		switch p := end.Phase; {
		case final(p):
			is = o.with(p, reasonOf(p), end.Message, now)
		case p == update.Idle:
			is = o.with(update.Failed, reasonCancelled, cmp.Or(end.Message, gaveUp), now)
		default:
			is = o.with(update.Failed, reasonLost, "another update began after it was "+string(p), now)
		}
		is.Version, is.FinishedAt = end.Version, second(end.Time)
	} else if st.Phase.Busy() {
		return old, true // the end of that one tells
	} else if o.Spec.Version != "" && o.Spec.Version == s.Version {
		is = o.runs(s, now)
	} else {
		is = o.with(update.Failed, reasonLost, "what became of it was lost with the state of updates", now)
		is.Version, is.FinishedAt = old.Version, second(now)
	}
	is.Attempt, is.StartedAt = old.Attempt, old.StartedAt
	return is, true
}

// gaveUp is said of an update that ended without a word.
const gaveUp = "the update was given up"

// isOf says whether the update of the same number is this object's: numbers
// begin anew when the state of updates is lost, and somebody else may have been
// quicker.
func (o object) isOf(st update.State) bool {
	if began := o.Status.StartedAt; began != nil {
		return began.Equal(st.Began.Truncate(time.Second))
	}
	return o.Spec.Version == "" || o.Spec.Version == st.Payload.Version
}

// ended finds the last word on an update of the history that others came after:
// by when it began or, where that was not noted, by how many came after it. Each
// begins with its download.
func ended(history []update.Entry, began *time.Time, after int) (end update.Entry, found bool) {
	last := len(history) - 1
	for i := last; i >= 0; i-- {
		if history[i].Phase != update.Downloading {
			continue
		}
		if began == nil && after == 0 || began != nil && began.Equal(history[i].Time.Truncate(time.Second)) {
			return history[last], true
		}
		last, after = i-1, after-1
	}
	return update.Entry{}, false
}

// mirror is the state of the update under the object's name.
func (o object) mirror(s update.Status, now time.Time) status {
	st := s.State
	p, reason, message := st.Phase, reasonOf(st.Phase), st.Message
	if p == update.Idle {
		p, reason, message = update.Failed, reasonCancelled, cmp.Or(message, gaveUp)
	}
	if p.Busy() && s.Waiting != "" {
		message = s.Waiting
	}
	is := o.with(p, reason, message, now)
	is.Version, is.Attempt, is.StartedAt = st.Payload.Version, st.Attempts, second(st.Began)
	switch {
	case p == update.Downloading && s.Total > 0:
		is.Progress = fmt.Sprintf("%d %%", s.Done*100/s.Total)
	case p.Busy() && p != update.Downloading, p == update.Good, p == update.RolledBack:
		is.Progress = "100 %"
	}
	if !p.Busy() {
		is.FinishedAt = second(st.Changed)
	}
	return is
}

// runs is the status of an object that needs nothing.
func (o object) runs(s update.Status, now time.Time) status {
	is := o.with(update.Good, reasonRuns, s.Version+" runs already", now)
	is.Version, is.FinishedAt = s.Version, second(now)
	return is
}

// order is what the object asks for.
func (o object) order() update.Order {
	return update.Order{Verb: update.Apply, Version: o.Spec.Version, Channel: o.Spec.Channel, Source: o.Spec.Source,
		Window: o.Spec.Window, Force: o.Spec.Force, By: "osupdate/" + o.Metadata.Name}
}
