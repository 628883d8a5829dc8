package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/event"
)

// order reads a verb's command line with so many arguments.
func (p Program) order(args []string, name, argument, help string) (given string, status int, ok bool) {
	flags := p.flags(name, argument, help)
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return "", status, false
	}
	switch {
	case argument == "" && len(rest) > 0:
		return "", p.unknown(fmt.Errorf("%s takes no argument %q", name, rest[0])), false
	case argument != "" && len(rest) != 1:
		return "", p.unknown(fmt.Errorf("%s wants one %s", name, argument)), false
	case argument != "":
		return rest[0], exitGood, true
	}
	return "", exitGood, true
}

func (p Program) restart(args []string) int {
	service, status, ok := p.order(args, "restart", "SERVICE", `Ends a service as its own rules say (SIGTERM, again, SIGKILL) and waits until PID 1
has started it again, at once. Pods go on meanwhile. It counts as no failure of
the service. One that waits after a failure is started without waiting longer.

Example: ksctl restart kubesolo`)
	if !ok {
		return status
	}
	return p.carryOut(control.Request{Verb: control.VerbRestart, Service: service}, p.printLine)
}

// carryOut has the node do something, and take what it replies. What the node
// refuses is wrong, and not unknown.
func (p Program) carryOut(r control.Request, take func(json.RawMessage) error) (status int) {
	return p.outcome(control.Call(context.Background(), p.socket(), r, take))
}

// outcome says how an order ended.
func (p Program) outcome(err error) (status int) {
	if errors.Is(err, control.ErrRefused) {
		fmt.Fprintln(p.Stderr, "ksctl:", err)
		return exitWrong
	}
	if err != nil {
		return p.unknown(err)
	}
	return exitGood
}

func (p Program) printLine(data json.RawMessage) error {
	var line string
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}

func (p Program) reboot(args []string) int {
	return p.end(args, "reboot", control.VerbReboot, "The node restarts: it stops pods and services first, within a minute.",
		`Restarts the machine: pods and services are stopped in order, file systems
unmounted. What does not end within a minute is cut off.`)
}

func (p Program) shutdown(args []string) int {
	return p.end(args, "shutdown", control.VerbPowerOff, "The node switches itself off: it stops pods and services first, within a minute.",
		`Switches the machine off: pods and services are stopped in order, file systems
unmounted. What does not end within a minute is cut off. It stays off until
somebody, or its management controller, switches it on.`)
}

func (p Program) end(args []string, name, verb, said, help string) int {
	_, status, ok := p.order(args, name, "", help)
	if !ok {
		return status
	}
	if err := p.get(verb, nil); err != nil {
		return p.unknown(err)
	}
	fmt.Fprintln(p.Stdout, said)
	return exitGood
}

func (p Program) events(args []string) int {
	flags := p.flags("events", "", `Prints what has happened on the node since it started: steps of the boot, services,
health, updates. With -f it goes on with what happens from now on.

Example: ksctl events -f -o json`)
	follow := flags.Bool("f", false, "follow: go on with what is to come")
	form := p.output(flags, "text")
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	asJSON, err := form()
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("events takes no argument %q", rest[0])
	}
	if err == nil {
		err = control.Call(context.Background(), p.socket(), control.Request{Verb: control.VerbEvents, Follow: *follow},
			func(data json.RawMessage) error { return p.printEvent(data, asJSON) })
	}
	if err != nil {
		return p.unknown(err)
	}
	return exitGood
}

func (p Program) printEvent(data json.RawMessage, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(p.Stdout, "%s\n", data)
		return err
	}
	e, err := event.Decode(data)
	if err != nil {
		return err
	}
	text := e.Type + " " + e.Name
	if e.Message != "" {
		text += ": " + e.Message
	}
	_, err = fmt.Fprintf(p.Stdout, "[%8.2f] %-9s %s\n", e.Time, e.State, text)
	return err
}
