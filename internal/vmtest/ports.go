package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"kubesolo.io/os/internal/event"
)

// Port is one virtio-serial port seen from the host: what the guest writes is
// kept, what is written to it the guest reads.
type Port struct {
	*stream
	conn io.Writer
}

// Send writes to the guest's side of the port.
func (p *Port) Send(b []byte) error {
	if _, err := p.conn.Write(b); err != nil {
		return fmt.Errorf("port: %w", err)
	}
	return nil
}

// Lines calls each with every complete line from the beginning on, until each
// returns false, ctx ends or the machine does.
func (p *Port) Lines(ctx context.Context, each func([]byte) bool) error {
	pos := 0
	for {
		text, changed, err := p.from(pos)
		for {
			line, rest, found := bytes.Cut(text, []byte("\n"))
			if !found {
				break
			}
			pos += len(text) - len(rest)
			text = rest
			if !each(line) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Port gives one of Config.Ports, EventsPort or KubeconfigPort, nil if there is
// no such port.
func (v *VM) Port(name string) *Port { return v.ports[name] }

// Events gives all events from the first on. The channel is closed when ctx
// ends or the machine does.
func (v *VM) Events(ctx context.Context) <-chan event.Event {
	c := make(chan event.Event)
	go func() {
		defer close(c)
		_ = v.ports[EventsPort].Lines(ctx, func(line []byte) bool {
			e, err := event.Decode(line)
			if err != nil {
				// A boot that is cut off and repeated in one VM
				// can leave half a line.
				return true
			}
			select {
			case c <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	return c
}

// EventsSoFar gives the events that have arrived. After the machine's end
// these are all.
func (v *VM) EventsSoFar() []event.Event {
	text, _, _ := v.ports[EventsPort].from(0)
	var events []event.Event
	for line := range bytes.Lines(text) {
		if e, err := event.Decode(line); err == nil {
			events = append(events, e)
		}
	}
	return events
}

// WaitEvent waits for the first event, from the beginning on, that match
// accepts. Without one the error names the last events seen.
func (v *VM) WaitEvent(ctx context.Context, match func(event.Event) bool) (event.Event, error) {
	var found *event.Event
	var last []string
	err := v.ports[EventsPort].Lines(ctx, func(line []byte) bool {
		e, err := event.Decode(line)
		if err == nil && match(e) {
			found = &e
			return false
		}
		last = append(last, string(line))
		if len(last) > 10 {
			last = last[1:]
		}
		return true
	})
	if found != nil {
		return *found, nil
	}
	return event.Event{}, fmt.Errorf("no such event: %w; the last ones:\n  %s\n%s",
		err, strings.Join(last, "\n  "), v.console.tail(25))
}

// Kubeconfig waits for the administrator's kubeconfig and returns the newest
// one. The node writes the file and an empty line, again when it changes.
func (v *VM) Kubeconfig(ctx context.Context) ([]byte, error) {
	p := v.ports[KubeconfigPort]
	for {
		text, changed, err := p.from(0)
		if doc := lastDocument(text); doc != nil {
			return doc, nil
		}
		if err != nil {
			return nil, fmt.Errorf("no kubeconfig: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no kubeconfig: %w\n%s", ctx.Err(), v.console.tail(25))
		}
	}
}

// HostKubeconfig is Kubeconfig with the server's address as it is seen from
// here: a forwarded port of 127.0.0.1, for which the node's certificate is good.
func (v *VM) HostKubeconfig(ctx context.Context, apiPort int) ([]byte, error) {
	kubeconfig, err := v.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	port, err := v.Forwarded(ctx, apiPort)
	if err != nil {
		return nil, err
	}
	return rewriteServer(kubeconfig, port)
}

func rewriteServer(kubeconfig []byte, port int) ([]byte, error) {
	re := regexp.MustCompile(`(?m)^(\s*server:\s*).*$`)
	if !re.Match(kubeconfig) {
		return nil, errors.New("kubeconfig: no server line")
	}
	return re.ReplaceAll(kubeconfig, fmt.Appendf(nil, "${1}https://127.0.0.1:%d", port)), nil
}

// lastDocument is the last run of lines that an empty line ends, nil if none.
func lastDocument(text []byte) []byte {
	var doc, current []byte
	r := bufio.NewReader(bytes.NewReader(text))
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return doc
		}
		if len(bytes.TrimSpace(line)) > 0 {
			current = append(current, line...)
		} else if current != nil {
			doc, current = current, nil
		}
	}
}
