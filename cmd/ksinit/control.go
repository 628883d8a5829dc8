package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/supervise"
)

// openControl listens for the operator, from the first step on: a boot that
// stands still is when questions are asked.
func (n *node) openControl() error {
	l, err := control.Listen(control.Socket)
	if err != nil {
		return err
	}
	n.closeAtEnd(l)
	n.background("control", func() {
		if err := control.Serve(l, n); err != nil {
			n.log.Error("ksctl has nobody to ask from now on", "err", err)
		}
	})
	return nil
}

func (n *node) closeAtEnd(socket io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sockets = append(n.sockets, socket)
}

// Handle implements control.Handler.
func (n *node) Handle(ctx context.Context, r control.Request, send func(any) error) error {
	switch r.Verb {
	case control.VerbStatus:
		return send(n.status())
	case control.VerbServices:
		return send(n.serviceList())
	case control.VerbTimeline:
		return send(n.state.Timeline())
	case control.VerbNetwork, control.VerbTry, control.VerbConfirm, control.VerbRevert:
		return n.handleNetwork(ctx, r, send)
	case control.VerbSlots, control.VerbArm, control.VerbCommit, control.VerbRollBack:
		return n.handleSlots(r, send)
	case control.VerbMedium, control.VerbMediumEnd:
		return n.handleMedium(r, send)
	case control.VerbEvents:
		return n.sendEvents(ctx, r.Follow, send)
	case control.VerbRestart:
		return n.restartService(ctx, r.Service, send)
	case control.VerbReboot:
		return n.askFor(restartNode)
	case control.VerbPowerOff:
		return n.askFor(powerOff)
	}
	return fmt.Errorf("%w: %s", control.ErrRequest, r.Verb)
}

func (n *node) askFor(a action) error {
	n.log.Info("asked by the control socket", "action", a.String())
	select {
	case n.asked <- a:
		return nil
	default:
		return errors.New("the node is going down already")
	}
}

func (n *node) serviceList() []supervise.Status {
	s := n.running()
	if s == nil {
		return []supervise.Status{}
	}
	return s.Status()
}

// status puts together what the parts of PID 1 know.
func (n *node) status() control.Status {
	s := control.Status{Version: imageVersion("/etc/os-release"), Uptime: event.Now()}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		s.Hostname, s.Kernel = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:])
	}
	n.state.Fill(&s)
	if m := n.networkManager(); m != nil { // the step that read the arguments has ended by then
		s.Slot = n.args.Slot
		status := m.Status()
		for _, a := range status.Addresses {
			s.Addresses = append(s.Addresses, a.String())
		}
		if status.NodeIP.IsValid() {
			s.NodeIP = status.NodeIP.String()
		}
	}
	return s
}

// imageVersion is the version of os-release(5), with the build where it says so.
func imageVersion(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	fields := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if plain, err := strconv.Unquote(value); err == nil {
			value = plain
		}
		fields[key] = value
	}
	version := fields["VERSION_ID"]
	if version == "" {
		return "unknown"
	}
	if build := fields["BUILD_ID"]; build != "" {
		version += " (" + build + ")"
	}
	return version
}

// sendEvents gives the events kept so far, and those to come until ctx ends.
func (n *node) sendEvents(ctx context.Context, follow bool, send func(any) error) error {
	if !follow {
		for _, e := range n.events.Events() {
			if err := send(e); err != nil {
				return err
			}
		}
		return nil
	}
	stream := event.NewStream(sender(send), 4096)
	defer stream.Close()
	n.events.Attach(stream)
	select {
	case <-ctx.Done():
	case <-stream.Done():
	}
	return nil
}

// sender takes the lines of a stream of events as replies.
type sender func(any) error

func (s sender) Write(line []byte) (int, error) { return len(line), s(json.RawMessage(line)) }

// restartService has the supervisor end a service and start it again. It goes on
// also when the one who asked is gone.
func (n *node) restartService(ctx context.Context, name string, send func(any) error) error {
	before, err := n.findService(name)
	if err != nil {
		return err
	}
	n.log.Info("asked by the control socket", "action", "restart", "service", name)
	n.console.line("ok", "service %s: restart asked for", name)
	if before.Pid != 0 {
		if err := send(fmt.Sprintf("%s: SIGTERM to pid %d", name, before.Pid)); err != nil {
			return err
		}
	}
	after, err := n.running().Restart(ctx, name)
	if err != nil {
		return err
	}
	if after.Ended != "" {
		if err := send(fmt.Sprintf("%s: ended: %s", name, after.Ended)); err != nil {
			return err
		}
	}
	return send(fmt.Sprintf("%s: started as pid %d", name, after.Pid))
}

func (n *node) findService(name string) (supervise.Status, error) {
	var names []string
	for _, s := range n.serviceList() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return supervise.Status{}, errors.New("no service has been started yet: see timeline")
	}
	return supervise.Status{}, fmt.Errorf("no service %q; there are %s", name, strings.Join(names, ", "))
}
