package supervise

import (
	"context"
	"errors"
	"fmt"

	"kubesolo.io/os/internal/event"
)

// Restarted is what came of a restart that was asked for.
type Restarted struct {
	Ended string // how the process before ended; "" when there was none
	Pid   int    // of the new process
}

// restartReply answers the one who asked for a restart.
type restartReply struct {
	Restarted
	err error
}

// errEnding answers a restart that comes while the service is being ended.
var errEnding = errors.New("is being ended already")

// Restart ends the process of a service by its stop policy and starts it again
// at once, also in the middle of a wait after a failure. Nothing of this counts
// as a failure, and a crash loop's verdict stays as it is: the service has to
// earn that by running. When ctx ends first, the restart goes on without the one
// who asked. It is an error for a service that waits for another, was stopped,
// does not end even by SIGKILL, or cannot be started; the last is tried again
// like any failed start.
func (s *Supervisor) Restart(ctx context.Context, name string) (Restarted, error) {
	a := s.find(name)
	if a == nil {
		return Restarted{}, fmt.Errorf("service %s: no such service", name)
	}
	reply := make(chan restartReply, 1)
	select {
	case a.restart <- reply:
	case <-a.done:
		return Restarted{}, fmt.Errorf("service %s: is stopped for good", name)
	case <-ctx.Done():
		return Restarted{}, fmt.Errorf("service %s: not restarted: %w", name, ctx.Err())
	}
	select {
	case r := <-reply:
		if r.err != nil {
			return r.Restarted, fmt.Errorf("service %s: %w", name, r.err)
		}
		return r.Restarted, nil
	case <-a.done:
		return Restarted{}, fmt.Errorf("service %s: was stopped meanwhile", name)
	case <-ctx.Done():
		return Restarted{}, fmt.Errorf("service %s: not restarted yet: %w", name, ctx.Err())
	}
}

// endForRestart ends the process for the one who waits for reply. When it does
// not end, the service goes on as well as it can.
func (a *actor) endForRestart(reply chan<- restartReply) (reason string, ended bool) {
	if a.status.CrashLoop {
		a.status.State, a.status.Since = Stopping, event.Now() // the verdict stands
	} else {
		a.set(Stopping, "for a restart")
	}
	reason, ended = a.end()
	if !ended {
		a.set(Running, reason)
		reply <- restartReply{err: errors.New(reason)}
		return reason, false
	}
	a.asked, a.endedBy = reply, reason
	return reason, true
}

// answer tells the one who asked for a restart, if anybody did, what came of it.
func (a *actor) answer(pid int, err error) {
	if a.asked == nil {
		return
	}
	a.asked <- restartReply{Restarted{a.endedBy, pid}, err}
	a.asked, a.endedBy = nil, ""
}
