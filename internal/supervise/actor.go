package supervise

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
)

// State of a service, in the words of the event stream.
type State string

const (
	Waiting  State = "waiting" // for what it needs
	Starting State = "starting"
	Running  State = "running" // started, not ready yet
	Ready    State = "ready"
	Exited   State = "exited"
	Backoff  State = "backoff" // waits before the next start
	Failed   State = "failed"  // in a crash loop; waits before the next start
	Stopping State = "stopping"
	Stopped  State = "stopped"
)

// Status is a service at one instant.
type Status struct {
	Name     string  `json:"name"`
	State    State   `json:"state"`
	Pid      int     `json:"pid,omitempty"`
	Since    float64 `json:"since"`    // boot clock, seconds, of the last change
	Starts   int     `json:"starts"`   // of this boot
	Failures int     `json:"failures"` // as the restart policy counts them
	Error    string  `json:"error,omitempty"`
	LastExit string  `json:"lastExit,omitempty"` // why it ended the last time
	// CrashLoop is the verdict: it fails again and again, and is tried at
	// the longest interval until it has run for long enough.
	CrashLoop bool `json:"crashLoop,omitempty"`
}

// Exit is how a process ended.
type Exit struct {
	Reason string   // "exit status 1", "killed by SIGKILL"
	Last   []string // the last lines it printed, oldest first
	OOM    bool     // the kernel killed it, or a child, for want of memory
}

func (e Exit) String() string {
	s := e.Reason
	if e.OOM {
		s += " (out of memory)"
	}
	if len(e.Last) > 0 {
		s += "; last output: " + strings.Join(e.Last, " | ")
	}
	return s
}

// Process is a running service.
type Process interface {
	Pid() int
	Exited() <-chan Exit // gives one Exit
	Signal(unix.Signal) error
	Kill() error // everything the stop policy lets it kill
}

// Runner starts processes: Host, or a script in tests.
type Runner interface {
	Start(Service) (Process, error)
}

// actor owns one service. Only its loop touches the fields below the line.
type actor struct {
	svc    Service
	runner Runner
	sink   event.Sink
	needs  []<-chan struct{} // closed when the needed service was ready once
	ready  chan struct{}     // closed when this one was
	stop   chan struct{}     // asks to stop
	ask    chan chan Status
	// restart asks for a restart; the reply has room for one.
	restart chan chan<- restartReply
	done    chan struct{}
	beats   atomic.Uint64 // heartbeats of the service itself

	status  Status
	proc    Process
	started time.Time
	asked   chan<- restartReply // of the restart that is going on
	endedBy string              // how the process before it ended
}

func (a *actor) set(s State, message string) {
	a.status.State, a.status.Since = s, event.Now()
	switch s {
	case Ready, Stopped:
		a.status.Error = ""
	case Exited, Failed:
		a.status.Error = message
	}
	if a.status.CrashLoop && (s == Starting || s == Running || s == Ready || s == Exited) {
		return // the verdict stands, and is changed by fail and recovered only
	}
	a.emit(s, message)
}

func (a *actor) emit(s State, message string) {
	e := event.Event{Type: event.Service, Name: a.svc.Name, State: string(s), Message: message}
	if s == Ready {
		e.Duration = time.Since(a.started).Seconds()
	}
	a.sink.Emit(e)
}

// loop is the whole life of the service, until it is stopped.
func (a *actor) loop() {
	if !a.waitNeeds() {
		a.set(Stopped, "")
		return
	}
	for {
		exit, how := a.runOnce()
		switch how {
		case stopped:
			return
		case restarted:
			a.status.Failures = a.svc.Restart.decayed(a.status.Failures, time.Since(a.started))
			a.status.LastExit = "ended for a restart: " + exit
			continue
		}
		d := a.svc.Restart.Next(a.status.Failures, time.Since(a.started))
		last := a.status.LastExit
		a.status.Failures, a.status.LastExit = d.Failures, exit
		if !d.Restart {
			a.set(Stopped, exit)
			return
		}
		if d.Escalate {
			a.fail(d, exit, exit != last)
		} else {
			a.status.CrashLoop = false
			a.set(Backoff, fmt.Sprintf("next start in %v", d.After))
		}
		if !a.pause(d.After) {
			a.set(Stopped, "")
			return
		}
	}
}

// fail gives the verdict of a crash loop. It is said once, and again when the
// service ends for another reason: a missing program said so every 30 s and
// drove all else out of the log.
func (a *actor) fail(d Decision, exit string, news bool) {
	message := fmt.Sprintf("%d failures: %s; tried again every %v from now on", d.Failures, exit, d.After)
	if news || !a.status.CrashLoop {
		a.status.CrashLoop = true
		a.set(Failed, message)
		return
	}
	a.status.State, a.status.Since, a.status.Error = Failed, event.Now(), message
}

// recovered lifts the verdict: the service has run for long enough.
func (a *actor) recovered() {
	a.status.CrashLoop = false
	a.set(a.status.State, fmt.Sprintf("has run for %v after %d failures", time.Since(a.started).Round(time.Second), a.status.Failures))
}

// ending is how a run of the process came to its end.
type ending int

const (
	failed    ending = iota // by itself, or hung
	stopped                 // asked to, for good
	restarted               // asked to, to start again
)

// runOnce starts the process and follows it to its end. It returns why it
// ended, and whether it was asked to.
func (a *actor) runOnce() (reason string, how ending) {
	a.started = time.Now()
	a.status.Starts++
	a.set(Starting, "")
	proc, err := a.runner.Start(a.svc)
	if err != nil {
		a.answer(0, err)
		a.set(Exited, err.Error())
		return err.Error(), failed
	}
	a.proc, a.status.Pid = proc, proc.Pid()
	a.answer(proc.Pid(), nil)
	defer func() { a.proc, a.status.Pid = nil, 0 }()
	a.set(Running, fmt.Sprintf("pid %d", proc.Pid()))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	isReady, late := a.probe(ctx), time.NewTimer(orElse(a.svc.ReadyTimeout, 2*time.Minute))
	defer late.Stop()
	var steady <-chan time.Time
	if a.status.CrashLoop {
		steady = time.After(a.svc.Restart.Forgives(a.status.Failures))
	}
	var hung <-chan error
	for {
		select {
		case <-isReady:
			isReady = nil
			late.Stop()
			a.set(Ready, "")
			a.announce()
			hung = a.watch(ctx)
		case <-steady:
			a.recovered()
		case err := <-hung:
			if reason, ended := a.endHung(err); ended {
				a.leftovers()
				a.set(Exited, reason)
				return reason, failed
			}
		case <-late.C:
			a.set(Running, fmt.Sprintf("not ready after %v: nothing accepts at %v", orElse(a.svc.ReadyTimeout, 2*time.Minute), a.svc.Ready))
		case exit := <-proc.Exited():
			a.leftovers()
			a.set(Exited, exit.String())
			return exit.String(), failed
		case <-a.stop:
			cancel()
			a.terminate()
			return "", stopped
		case reply := <-a.restart:
			reason, ended := a.endForRestart(reply)
			switch {
			case ended && a.stopAsked():
				a.set(Stopped, reason)
				return "", stopped
			case ended:
				return reason, restarted
			}
		case reply := <-a.ask:
			reply <- a.status
		}
	}
}

// announce lets those that need this service start.
func (a *actor) announce() {
	select {
	case <-a.ready:
	default:
		close(a.ready)
	}
}

// probe returns a channel that is closed when the service accepts.
func (a *actor) probe(ctx context.Context) <-chan struct{} {
	met := make(chan struct{})
	go func() {
		for a.svc.Ready.Check(ctx) != nil {
			select {
			case <-time.After(a.svc.Ready.every()):
			case <-ctx.Done():
				return
			}
		}
		close(met)
	}()
	return met
}

// waitNeeds waits for every needed service; false means asked to stop.
func (a *actor) waitNeeds() bool {
	for i, need := range a.needs {
		select {
		case <-need:
			continue
		default:
		}
		a.set(Waiting, "for "+a.svc.Needs[i])
		for waiting := true; waiting; {
			select {
			case <-need:
				waiting = false
			case <-a.stop:
				return false
			case reply := <-a.ask:
				reply <- a.status
			case reply := <-a.restart:
				reply <- restartReply{err: fmt.Errorf("waits for %s, and starts as soon as that is ready", a.svc.Needs[i])}
			}
		}
	}
	return true
}

// pause waits, until somebody asks for a restart at the latest; false means
// asked to stop.
func (a *actor) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-a.stop:
			return false
		case reply := <-a.ask:
			reply <- a.status
		case a.asked = <-a.restart:
			return true
		}
	}
}
