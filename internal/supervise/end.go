package supervise

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// terminate ends the process for good.
func (a *actor) terminate() {
	a.set(Stopping, "")
	if reason, ended := a.end(); ended {
		a.set(Stopped, reason)
	} else {
		a.set(Failed, reason)
	}
}

// end ends the process by the stop policy, and says how, or why it did not.
func (a *actor) end() (reason string, ended bool) {
	policy := a.svc.Stop
	for _, wait := range []time.Duration{policy.grace(), policy.again()} {
		_ = a.proc.Signal(unix.SIGTERM) // has ended: seen below
		if exit, ok := a.exitWithin(wait); ok {
			a.leftovers()
			// Asked to end, it ended: what it printed last explains
			// nothing and would fill the screen on the way down.
			return exit.Reason, true
		}
	}
	killed := a.proc.Kill()
	if exit, ok := a.exitWithin(5 * time.Second); ok {
		return fmt.Sprintf("%v, after %v", exit, policy.grace()+policy.again()), true
	}
	reason = ErrNotStopped.Error()
	if killed != nil {
		reason += ": " + killed.Error()
	}
	return reason, false
}

func (a *actor) exitWithin(d time.Duration) (Exit, bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case exit := <-a.proc.Exited():
			return exit, true
		case <-timer.C:
			return Exit{}, false
		case reply := <-a.ask:
			reply <- a.status
		case reply := <-a.restart:
			reply <- restartReply{err: errEnding}
		}
	}
}

// leftovers ends what a dead main process left in its control group, so that
// the next start does not meet it on the same port or database.
func (a *actor) leftovers() {
	if !a.svc.Stop.KeepChildren {
		_ = a.proc.Kill() // already empty, or said again when the next start fails
	}
}

// stopAsked tells whether the service is to be stopped.
func (a *actor) stopAsked() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}
