package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/supervise"
)

// downLimit is when the machine is switched off or restarted whatever is
// still going on: nobody is there to press the button.
const downLimit = 60 * time.Second

// A phase is one part of the way down.
type phase struct {
	name  string
	limit time.Duration
	run   func(context.Context) error
}

// downPhases is the way down. The limits add up to less than downLimit.
func downPhases(n *node, a action) []phase {
	return []phase{
		{"pods", 21 * time.Second, n.stopPods},
		{"kubesolo", 17 * time.Second, func(ctx context.Context) error { return n.stopServices(ctx, "kubesolo", "ksagent") }},
		{"containerd", 8 * time.Second, func(ctx context.Context) error { return n.stopServices(ctx, "containerd") }},
		{"processes", 3 * time.Second, n.killAll},
		{"log", time.Second, func(context.Context) error { return n.closeBootLog(a) }},
		{"unmount", 6 * time.Second, n.unmount},
		{"sync", 4 * time.Second, mount.Sync},
	}
}

// shutdown takes the node down in order and ends the machine. It returns only
// when reboot(2) is refused.
func (n *node) shutdown(a action) {
	n.report("started", a.String(), 0)
	n.background("deadline", func() {
		time.Sleep(downLimit)
		n.report("deadline", fmt.Sprintf("not done after %v, %s now", downLimit, a), 0)
		n.end(a)
	})
	n.mu.Lock()
	if n.watchdog != nil {
		n.watchdog.lastFeed(a)
	}
	n.mu.Unlock()
	for _, p := range downPhases(n, a) {
		begin := time.Now()
		err := n.runPhase(p)
		took := time.Since(begin)
		if err != nil {
			n.report(p.name, err.Error(), took)
			continue
		}
		n.report(p.name, "", took)
	}
	n.report("done", a.String(), 0)
	n.end(a)
}

// runPhase runs one phase; a phase that hangs is left behind.
func (n *node) runPhase(p phase) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.limit)
	defer cancel()
	ended := make(chan error, 1)
	n.background(p.name, func() {
		err := errors.New("internal error")
		defer func() { ended <- err }()
		err = p.run(ctx)
	})
	select {
	case err := <-ended:
		return err
	case <-time.After(p.limit + 500*time.Millisecond):
		return fmt.Errorf("did not end within %v", p.limit)
	}
}

// report says on all channels how the way down goes.
func (n *node) report(state, message string, took time.Duration) {
	n.events.Emit(event.Event{Type: event.Shutdown, State: state, Message: message, Duration: took.Seconds()})
	n.log.Info("shutdown", "phase", state, "message", message, "took", took)
	text := strings.TrimSuffix(state+": "+message, ": ")
	if took > 0 {
		text = fmt.Sprintf("%s (%.1f s)", text, took.Seconds())
	}
	n.console.line("shutdown", "%s", text)
}

// end is the last thing that happens.
func (n *node) end(a action) {
	n.events.Close(time.Second) // or a host now and then misses the last one
	n.console.wait()
	command := unix.LINUX_REBOOT_CMD_RESTART
	switch a {
	case powerOff:
		command = unix.LINUX_REBOOT_CMD_POWER_OFF
	case halt:
		command = unix.LINUX_REBOOT_CMD_HALT
	}
	if err := unix.Reboot(command); err != nil {
		n.console.line("failed", "%s: %v: switch the machine off by hand", a, err)
		n.console.wait()
	}
}

// restart is end for the initramfs, which has nothing to take down.
func restart() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func (n *node) running() *supervise.Supervisor {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.supervisor
}

// stopPods lets containers end in their own way. It takes a containerd client,
// which PID 1 does not link: ksagent has one. What it is given is less than the
// phase has: SIGKILL and the sandboxes come afterwards.
func (n *node) stopPods(ctx context.Context) error {
	s := n.running()
	if s == nil {
		return nil
	}
	for _, st := range s.Status() {
		if st.Name == "containerd" && st.State == supervise.Ready {
			_, err := supervise.RunOnce(ctx, n.host(), supervise.Service{
				Name: "stop-pods", Argv: []string{agentPath, "stop-pods", "--timeout", "17s"}, Env: baseEnv(),
			})
			return err
		}
	}
	return nil
}

// stopServices stops services beside each other.
func (n *node) stopServices(ctx context.Context, names ...string) error {
	s := n.running()
	if s == nil {
		return nil
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Add(1)
		n.background("stop "+name, func() {
			defer wg.Done()
			errs[i] = s.Stop(ctx, name)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// killAll ends what is left: pods that did not stop, shims, shells.
func (n *node) killAll(ctx context.Context) error {
	n.saveTime()
	n.mu.Lock()
	if n.stopNet != nil {
		n.background("stop network", n.stopNet)
	}
	var errs []error
	for _, socket := range n.sockets {
		errs = append(errs, socket.Close())
	}
	n.mu.Unlock()
	if n.groups != nil {
		groups, err := n.groups.Children()
		errs = append(errs, err)
		for _, g := range groups {
			if g.Name != "init" {
				errs = append(errs, g.Kill())
			}
		}
		for _, g := range groups {
			if g.Name != "init" {
				errs = append(errs, g.WaitEmpty(ctx))
			}
		}
	}
	// Also what is in no group of ours; -1 leaves out PID 1 itself.
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unmount leaves its last two seconds to what UnmountAll makes read-only.
func (n *node) unmount(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-2*time.Second))
	defer cancel()
	return mount.UnmountAll(ctx, func(line string) { n.console.line("shutdown", "%s", line) })
}
