package update

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kubesolo.io/os/internal/event"
)

// checkLimit bounds one look for updates; a download has no limit.
const checkLimit = 5 * time.Minute

// rest waits for a reason to do something.
func (e *Engine) rest(ctx context.Context) Action {
	var due <-chan time.Time
	if every := e.o.Settings().Every; every > 0 && e.Status().Slots.Problem == "" {
		// Ten thousand nodes that were switched on together do not ask together.
		due = time.After(every/2 + rand.N(every))
	}
	select {
	case <-ctx.Done():
		return Rest
	case <-due:
		set := e.o.Settings()
		return e.look(ctx, Query{}, set.Download || set.Apply, nil)
	case <-e.o.Medium:
		// Whoever plugs a medium in with an update on it wants that update.
		return e.look(ctx, Query{Order: Order{Verb: Apply, Source: MediumSource, By: byMedium}}, true, nil)
	case a := <-e.orders:
		switch a.Verb {
		case Check, Apply:
			return e.look(ctx, Query{Order: a.Order}, a.Verb == Apply, a.answer)
		case RollBack:
			return e.back(ctx, a)
		}
		a.answer <- fmt.Errorf("no order %q", a.Verb)
	}
	return Rest
}

// look looks for an update, and begins it when that is wanted.
func (e *Engine) look(ctx context.Context, q Query, begin bool, answer chan<- error) Action {
	reply := func(err error) {
		if answer != nil {
			answer <- err
		}
	}
	if !e.lookAtSlots(ctx) || e.Status().Slots.Problem != "" {
		reply(fmt.Errorf("no update is possible: %s%s", e.Status().Waiting, e.Status().Slots.Problem))
		return Rest
	}
	q.Current, q.State = e.o.Version, e.now()
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	offer, err := e.o.Find(limited, q)
	if nothing(err) && q.By == byMedium {
		return Rest // most media are something else, and the others were seen before
	}
	a := Available{Checked: time.Now(), From: offer.Payload.From, Version: offer.Payload.Version, Notes: offer.Notes, Reason: offer.Later}
	switch {
	case nothing(err):
		a.Reason = err.Error()
	case err != nil:
		a.Error = err.Error()
		e.o.Log.Warn("looking for updates", "err", err)
	}
	e.mu.Lock()
	e.available, e.state.Checked = &a, a.Checked
	e.mu.Unlock()
	if nothing(err) && q.Verb != Apply {
		err = nil // a check that found nothing did what it is for
	}
	if err == nil && begin && a.Version != "" && q.By == "" && offer.Later != "" {
		begin = false // at the next check, perhaps
	}
	if err != nil || !begin || a.Version == "" {
		// No step of an update, but it shall outlive a restart: the next look may
		// be many hours away.
		if err := Save(e.o.File, e.now()); err != nil {
			e.o.Log.Warn("updates", "err", err)
		}
		reply(err)
		return Rest
	}
	e.set(e.now().Begin(e.o.Version, e.Status().Slots.Passive.Slot, offer.Payload, q.Order, time.Now()), true)
	reply(nil) // whoever asked looks at the state next
	return Download
}

// back tries the other slot again, as it is. What stands against that is said to
// whoever asked, and changes nothing.
func (e *Engine) back(ctx context.Context, a ask) Action {
	s := e.now()
	if s.Phase != Good || s.Current == "" || s.Current == e.o.Version {
		a.answer <- errors.New("there is no version to go back to: none was replaced since this node was installed")
		return Rest
	}
	slots := e.Status().Slots
	previous := Payload{Version: s.Current, From: "the slot from before"}
	if p := s.Before; p.Version == s.Current {
		previous.Name, previous.SHA256, previous.Length = p.Name, p.SHA256, p.Length
	}
	if err := e.verify(ctx, slots.Passive.Slot, previous); err != nil {
		a.answer <- fmt.Errorf("%s cannot be gone back to: %w", s.Current, err)
		return Rest
	}
	// The one that is left must not come back by itself.
	now := time.Now()
	s = s.RollBack(byHandLater+a.By, now)
	if err := e.keep(s.Begin(e.o.Version, slots.Passive.Slot, previous, a.Order, now).Stage(now)); err != nil {
		a.answer <- fmt.Errorf("nothing was done, since a trial must be noted first: %w", err)
		return Rest
	}
	a.answer <- nil
	return Try
}

// download brings the payload into the passive slot.
func (e *Engine) download(ctx context.Context) Action {
	work, release := e.cancellable(ctx)
	defer release()
	s := e.now()
	for tries := 0; ; tries++ {
		offer, err := e.o.Find(work, Query{Order: Order{Source: s.Payload.From}, Current: e.o.Version, State: s, Exactly: &s.Payload})
		if err == nil {
			err = offer.Fetch(work, e.Status().Slots.Passive, func(done, total int64) {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.done, e.total = done, total
			})
			release()
			if err == nil && !cancelled(work) {
				e.set(s.Stage(time.Now()), true)
				return Try
			}
			e.giveUp(ctx, work, s, err)
			return Rest
		}
		// Without the metadata it cannot go on; the network may come later.
		if nothing(err) || work.Err() != nil {
			e.giveUp(ctx, work, s, err)
			return Rest
		}
		e.setWaiting(err.Error())
		wait(work, min(time.Duration(1<<min(tries, 8))*time.Second, 5*time.Minute))
	}
}

// giveUp ends an update before anything was tried: what was cancelled did not fail.
func (e *Engine) giveUp(ctx, work context.Context, s State, err error) {
	if cancelled(work) {
		e.set(s.Cancel(time.Now()), true)
		return
	}
	e.set(s.Fail(err.Error(), time.Now()), ctx.Err() == nil)
}

// cancelled says whether an order ended the work.
func cancelled(work context.Context) bool { return errors.Is(context.Cause(work), errCancelled) }

// gateEvery is how often closed gates are looked at.
const gateEvery = 15 * time.Second

// try verifies the slot, arms it and restarts the machine, once all gates are open.
func (e *Engine) try(ctx context.Context) Action {
	work, release := e.cancellable(ctx)
	defer release()
	for {
		s := e.now()
		why := ""
		switch {
		case s.Back:
			// Gates hold back what is new. This is the way out of it, and a person
			// waits for it.
		case !s.Ordered && !e.o.Settings().Apply:
			why = "downloaded; `ksctl update apply` tries it"
		default:
			why = e.o.Gates(work, s)
		}
		if work.Err() != nil {
			e.giveUp(ctx, work, s, work.Err())
			return Rest
		}
		if why == "" {
			break
		}
		e.setWaiting(why)
		select {
		case <-work.Done():
		case <-time.After(gateEvery):
		case a := <-e.orders:
			if a.Verb != Apply || a.Version != "" && a.Version != s.Payload.Version {
				a.answer <- fmt.Errorf("version %s is staged: apply or cancel it first", s.Payload.Version)
				continue
			}
			e.set(s.Order(a.Order, time.Now()), true)
			a.answer <- nil
		}
	}
	e.setWaiting("")
	s := e.now()
	if err := e.verify(work, s.Slot, s.Payload); err != nil {
		e.giveUp(ctx, work, s, err)
		return Rest
	}
	name, err := e.o.Data.Copy(work)
	if err != nil {
		err = fmt.Errorf("no copy of the database: %w", err)
		// The copy is for a version that cannot read what a newer one wrote: on the
		// way back, what runs now is the newer one.
		if work.Err() != nil || !s.Forced && !s.Back {
			e.giveUp(ctx, work, s, err)
			return Rest
		}
		e.o.Log.Warn("updates: the slot is tried all the same", "err", err)
	}
	release() // from here on it is seconds
	if cancelled(work) {
		e.giveUp(ctx, work, s, errCancelled)
		return Rest
	}
	for !e.lookAtSlots(ctx) && ctx.Err() == nil {
		wait(ctx, pause)
	}
	if err := e.keep(s.Arm(e.o.Boot, name, e.Status().Slots.Generation, time.Now())); err != nil {
		e.set(s.Fail("not armed: "+err.Error(), time.Now()), true)
		return Rest
	}
	if err := e.o.Node.Arm(ctx, s.Slot); err != nil {
		// When it is this process that ends, nobody knows whether it is armed: the
		// next one finds out, and has the note of it with the copy's name.
		e.set(e.now().Fail(err.Error(), time.Now()), ctx.Err() == nil)
		return Rest
	}
	return Reboot
}

// reboot has the machine restart, and waits for that.
func (e *Engine) reboot(ctx context.Context) Action {
	if err := e.o.Node.Reboot(ctx); err != nil {
		e.setWaiting(err.Error())
	}
	wait(ctx, time.Minute)
	return Reboot
}

// disarm takes back what GRUB does not carry out.
func (e *Engine) disarm(ctx context.Context) Action {
	if err := e.o.Node.RollBack(ctx, e.now().Message); err != nil {
		e.setWaiting(err.Error())
		wait(ctx, pause)
		return Disarm
	}
	e.lookAtSlots(ctx)
	return Rest
}

// lookEvery is how often a trial is looked at.
const lookEvery = 2 * time.Second

// judge watches the trial until it passes. That it failed is for ksinit to say.
func (e *Engine) judge(ctx context.Context) Action {
	s := e.now()
	trial := Trial{For: e.o.Settings().Healthy}
	for said := ""; ctx.Err() == nil; wait(ctx, lookEvery) {
		passed, waiting := trial.See(e.o.Evidence(ctx))
		e.setWaiting(waiting)
		if !passed {
			if waiting != said {
				e.o.Log.Info("trial", "version", s.Payload.Version, "waiting", waiting)
				said = waiting
			}
			continue
		}
		if err := e.o.Node.Commit(ctx); err != nil {
			e.setWaiting(err.Error())
			continue
		}
		e.set(s.Pass(fmt.Sprintf("healthy for %v, %.0f s after the kernel's start", trial.For, event.Now()), time.Now()), true)
		e.lookAtSlots(ctx)
		return Rest
	}
	return Rest
}

// maxRestores is how often the copy of before is tried: kubesolo may be starting.
const maxRestores = 12

// restore brings the database of before back: a newer Kubernetes may have written
// what this one cannot read.
func (e *Engine) restore(ctx context.Context) Action {
	s := e.now()
	if s.Copy == "" {
		return Rest
	}
	name := s.Copy
	s.Copy = ""
	for tries := 0; ctx.Err() == nil; tries++ {
		err := e.o.Data.Restore(ctx, name)
		if err == nil {
			e.set(s.to(RolledBack, s.Message+"; database of before restored: "+name, time.Now()), true)
			break
		}
		if tries >= maxRestores {
			e.o.Log.Error("the database of before the update was not restored", "copy", name, "err", err)
			e.set(s.to(RolledBack, fmt.Sprintf("%s; the database of before is not restored: %s: %v", s.Message, name, err), time.Now()), true)
			break
		}
		e.setWaiting(fmt.Sprintf("restore %s: %v", name, err))
		wait(ctx, 10*time.Second)
	}
	return Rest
}
