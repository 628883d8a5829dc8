package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"kubesolo.io/os/internal/control"
)

// patience is how long the node may take to say how it is.
const patience = 10 * time.Second

func (p Program) socket() string { return filepath.Join(p.RunDir, filepath.Base(control.Socket)) }

// get asks the node for one thing.
func (p Program) get(verb string, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return control.Get(ctx, p.socket(), verb, v)
}

// view is a verb without arguments that asks the node and prints the answer as
// a table or, untouched, as JSON.
type view struct {
	name, help string
	ask        func() (any, error)
	print      func() error // as a table
	status     func() int
}

func (p Program) view(args []string, v view) int {
	flags := p.flags(v.name, "", v.help)
	form := p.output(flags, "table")
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	asJSON, err := form()
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%s takes no argument %q", v.name, rest[0])
	}
	if err != nil {
		return p.unknown(err)
	}
	answer, err := v.ask()
	if err != nil {
		return p.unknown(err)
	}
	if asJSON {
		err = p.json(answer)
	} else {
		err = v.print()
	}
	if err != nil {
		return p.unknown(err)
	}
	return v.status()
}

func exitIf(wrong bool) int {
	if wrong {
		return exitWrong
	}
	return exitGood
}

func (p Program) status(args []string) int {
	var s control.Status
	return p.view(args, view{"status", `Says how the node is: what runs, what it waits for, what went wrong.

Example: until ksctl status; do sleep 1; done

Exit status: 0 when the node is ready, 1 when it is not (yet), 2 when that
could not be found out.`,
		func() (any, error) {
			if err := p.get(control.VerbStatus, &s); err != nil {
				return nil, err
			}
			return &s, p.get(control.VerbServices, &s.Services)
		},
		func() error { return p.printStatus(s) },
		func() int { return exitIf(s.Phase != control.Ready) }})
}

func (p Program) printStatus(s control.Status) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("node", "%s", s.Hostname)
	phase := p.paint(phaseColour(s.Phase), string(s.Phase))
	if s.Ready != "" {
		phase += fmt.Sprintf(", ready %s after the start", span(s.ReadyAt))
	}
	line("state", "%s", phase)
	for _, what := range s.Waiting {
		line("waiting for", "%s", what)
	}
	line("version", "KubeSolo OS %s, kernel %s", s.Version, s.Kernel)
	if s.Slot != "" {
		line("slot", "%s", s.Slot)
	}
	line("up", "%s", span(s.Uptime))
	line("addresses", "%s", orDash(strings.Join(s.Addresses, " ")))
	line("node address", "%s", orDash(s.NodeIP))
	for _, q := range s.Problems {
		line("problem", "%s", problem(q))
	}
	if s.LastError != nil {
		line("last error", "%s", problem(*s.LastError))
	}
	for _, c := range s.Health {
		line("health", "%s: %s", c.Name, strings.TrimSuffix(p.paint(healthColour(c.State), c.State)+", "+c.Message, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Services) == 0 {
		return nil
	}
	fmt.Fprintln(p.Stdout)
	return p.printServices(s.Services, s.Uptime)
}

func problem(q control.Problem) string {
	return fmt.Sprintf("%s, %s after the start: %s", q.Source, span(q.Time), oneLine(q.Message))
}

func (p Program) services(args []string) int {
	var answer json.RawMessage
	var list []control.Service
	return p.view(args, view{"services", `Lists the programs that PID 1 keeps running. FAILURES is the count of its
restart policy: it is halved for every while that a service runs well.

Exit status: 0 when all are ready, 1 when one is not.`,
		func() (any, error) {
			if err := p.get(control.VerbServices, &answer); err != nil {
				return nil, err
			}
			return answer, json.Unmarshal(answer, &list)
		},
		func() error {
			var s control.Status
			if err := p.get(control.VerbStatus, &s); err != nil {
				return err
			}
			return p.printServices(list, s.Uptime)
		},
		func() int {
			wrong := len(list) == 0
			for _, s := range list {
				wrong = wrong || s.State != "ready"
			}
			return exitIf(wrong)
		}})
}

func (p Program) printServices(list []control.Service, now float64) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tSTATE\tFOR\tPID\tSTARTS\tFAILURES\tERROR")
	for _, s := range list {
		pid := "-"
		if s.Pid != 0 {
			pid = strconv.Itoa(s.Pid)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", s.Name, s.State, span(now-s.Since), pid, s.Starts, s.Failures,
			oneLine(firstOf(s.Error, s.LastExit)))
	}
	return w.Flush()
}

func (p Program) timeline(args []string) int {
	var spans []control.Span
	return p.view(args, view{"timeline", `Shows the steps of the boot in the order of their start, then how long each
service and the node took to be ready. Times are seconds since the kernel
started.

Exit status: 0 when every step is as it should be, 1 when one is not.`,
		func() (any, error) { return &spans, p.get(control.VerbTimeline, &spans) },
		func() error {
			w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "START\tTOOK\tSTATE\tWHAT\tMESSAGE")
			for _, s := range spans {
				fmt.Fprintf(w, "%.2f\t%.2f\t%s\t%s\t%s\n", s.Start, s.Duration, s.State, s.Name, oneLine(s.Message))
			}
			return w.Flush()
		},
		func() int {
			for _, s := range spans {
				if s.State != "ok" && s.State != "ready" {
					return exitWrong
				}
			}
			return exitGood
		}})
}

// networkStatus is what the table shows of the network manager's status.
type networkStatus struct {
	Ready   bool     `json:"ready"`
	Missing []string `json:"missing"`
	Links   []struct {
		Name    string `json:"name"`
		Kind    string `json:"kind"`
		Driver  string `json:"driver"`
		MAC     string `json:"mac"`
		MTU     int    `json:"mtu"`
		Up      bool   `json:"up"`
		Carrier bool   `json:"carrier"`
		Speed   int    `json:"speed"`
		Addrs   []struct {
			Prefix string `json:"prefix"`
		} `json:"addrs"`
	} `json:"links"`
	Gateway  string   `json:"gateway"`
	DNS      []string `json:"dns"`
	Search   []string `json:"search"`
	NTP      []string `json:"ntp"`
	NodeIP   string   `json:"node-ip"`
	Source   string   `json:"node-ip-source"`
	Trial    string   `json:"trial-until"`
	Warnings []string `json:"warnings"`
}

func (p Program) network(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "try":
			return p.networkTry(args[1:])
		case "confirm":
			return p.networkEnd(args[1:], "confirm", control.VerbConfirm, "confirmed: it stays in force")
		case "revert":
			return p.networkEnd(args[1:], "revert", control.VerbRevert, "the former configuration is back")
		}
	}
	var answer json.RawMessage
	var n networkStatus
	return p.view(args, view{"network", `Shows the network as PID 1 sees it: links with their addresses, the gateway, name
servers, and the address that Kubernetes knows this node by.

ksctl network try FILE    puts another configuration in force for a time
ksctl network confirm     keeps it
ksctl network revert      takes it back at once

Exit status: 0 when the network is there, 1 when something is missing.`,
		func() (any, error) {
			if err := p.get(control.VerbNetwork, &answer); err != nil {
				return nil, err
			}
			return answer, json.Unmarshal(answer, &n)
		},
		func() error { return p.printNetwork(n) },
		func() int { return exitIf(!n.Ready) }})
}

func (p Program) printNetwork(n networkStatus) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LINK\tSTATE\tADDRESSES\tMAC\tMTU\tDRIVER\tSPEED")
	for _, l := range n.Links {
		state, speed := "down", "-"
		switch {
		case l.Up && l.Carrier:
			state = "up"
		case l.Up:
			state = "no carrier"
		}
		if l.Speed > 0 {
			speed = fmt.Sprintf("%d Mbit/s", l.Speed)
		}
		var addresses []string
		for _, a := range l.Addrs {
			addresses = append(addresses, a.Prefix)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", l.Name, state, orDash(strings.Join(addresses, " ")), orDash(l.MAC), l.MTU,
			orDash(firstOf(l.Driver, l.Kind)), speed)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout)
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, orDash(value)) }
	line("gateway", n.Gateway)
	line("name servers", strings.Join(n.DNS, " "))
	line("search", strings.Join(n.Search, " "))
	line("time servers", strings.Join(n.NTP, " "))
	line("node address", strings.TrimSuffix(n.NodeIP+" ("+n.Source+")", " ()"))
	if n.Trial != "" {
		line("on trial until", n.Trial)
	}
	for _, m := range n.Missing {
		line("missing", m)
	}
	for _, m := range n.Warnings {
		line("warning", m)
	}
	return w.Flush()
}

func orDash(s string) string { return firstOf(s, "-") }

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// span gives seconds as a person would say them.
func span(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1fs", max(seconds, 0))
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
