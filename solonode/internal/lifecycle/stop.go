package lifecycle

import (
	"fmt"
	"time"
)

// stop ends the components in reverse order of the list, within the budget.
func (run *runner) stop(components []Component) {
	deadline := time.Now().Add(run.opts.StopBudget)
	for i := len(components) - 1; i >= 0; i-- {
		t := run.tasks[components[i].Name]
		t.cancel()
		begin := time.Now()
		select {
		case <-t.done:
			continue
		default:
		}
		if why := run.await(t, allowance(components[:i+1], time.Until(deadline))); why != "" {
			run.opts.Log("component left behind: " + t.Name + " " + why)
		} else if !t.Finite && t.begun.Load() {
			run.opts.Log(fmt.Sprintf("component stopped: %s %.1fs", t.Name, time.Since(begin).Seconds()))
		}
	}
}

// allowance is how long the last of the components, which stops next, may take:
// its own limit, or what of the time left is not reserved for the others. Its
// reserve it has also when a machine that stood still has used up all.
func allowance(components []Component, left time.Duration) time.Duration {
	last := len(components) - 1
	next := components[last]
	return max(next.StopReserve, min(next.StopTimeout, left-reserved(components[:last])))
}

func reserved(components []Component) (sum time.Duration) {
	for _, component := range components {
		sum += component.StopReserve
	}
	return sum
}

// await says why it waited no longer, or nothing when t has ended. A hurry
// takes nothing of what is reserved for t.
func (run *runner) await(t *task, allowed time.Duration) (why string) {
	select {
	case <-t.done:
		return ""
	case <-time.After(t.StopReserve):
	}
	select {
	case <-t.done:
		return ""
	case <-time.After(allowed - t.StopReserve):
		return fmt.Sprintf("did not stop within %.1fs", allowed.Seconds())
	case <-run.opts.Hurry:
		return "(hurried)"
	}
}
