package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
)

// orderForm reads the command line of an order, which has options only.
func (p Program) orderForm(flags *flag.FlagSet, args []string, form func() (bool, error)) (asJSON bool, status int, ok bool) {
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return false, status, false
	}
	asJSON, err := form()
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%s takes no argument %q", strings.TrimPrefix(flags.Name(), "ksctl "), rest[0])
	}
	if err != nil {
		return false, p.unknown(err), false
	}
	return asJSON, exitGood, true
}

func (p Program) updateApply(args []string) int {
	flags := p.flags("update apply", "", `Installs a version: it is written to the slot that does not run, verified, and tried
by a restart. A version that does not bring the node up is taken back by itself.

The download is shown until the node restarts; ending ksctl does not end it, which
ksctl update cancel does.

Examples:
  ksctl update apply
  ksctl update apply --version 0.2.0 --no-wait
  ksctl update apply --source https://updates.example.org/kubesolo-os --force

Exit status: 0 when the node restarts into the version, or has nothing to do, 1 when
it cannot be installed.`)
	o := control.Order{Verb: string(update.Apply), By: "ksctl"}
	flags.StringVar(&o.Version, "version", "", "`version` to install; the newest when not given")
	flags.StringVar(&o.Source, "source", "", "`place` to take it from; the configured one when not given")
	flags.StringVar(&o.Channel, "channel", "", "`channel` to look in; the configured one when not given")
	flags.BoolVar(&o.Force, "force", false, "wait for no window, turn or label; take a version that failed before, is older or runs already; go on without a copy of the database")
	wait := flags.Bool("wait", true, "show what it does until the node restarts")
	flags.BoolFunc("no-wait", "return as soon as it has begun", func(text string) error {
		no, err := strconv.ParseBool(text)
		*wait = !no
		return err
	})
	form := p.output(flags, "text")
	asJSON, status, ok := p.orderForm(flags, args, form)
	if !ok {
		return status
	}
	idle := false
	err := p.callAgent(context.Background(), control.Request{Verb: control.VerbOrder, Order: o}, func(data json.RawMessage) error {
		idle = true
		if asJSON {
			return nil
		}
		return p.printLine(data)
	})
	switch {
	case err != nil:
		return p.outcome(err)
	case *wait && !idle:
		return p.follow(asJSON)
	case asJSON:
		return p.printNow()
	case !idle:
		fmt.Fprintln(p.Stdout, "it has begun, and goes on by itself: ksctl update status says how far it is")
	}
	return exitGood
}

func (p Program) updateRollBack(args []string) int {
	flags := p.flags("update rollback", "", `Restarts into the other slot, whose version is then the one that starts from now on.
The node's data stays as it is. The slot is read first, which takes some seconds; the
maintenance window, the node's label and others' turns are not waited for.

Examples:
  ksctl update rollback
  ksctl update rollback --yes -o json

Exit status: 0 when the node restarts, 1 when the other slot holds nothing to go back to.`)
	yes := flags.Bool("yes", false, "do not ask")
	asJSON, status, ok := p.orderForm(flags, args, p.output(flags, "text"))
	if !ok {
		return status
	}
	s, before, err := p.updateNow()
	if err != nil {
		return p.unknown(err)
	}
	other := firstOf(otherSlot(s), "the other one")
	if !*yes {
		if err := p.confirm(asJSON, fmt.Sprintf("The node restarts from slot %s into slot %s. Go on? [y/N] ", orDash(s.Slots.Running), other)); err != nil {
			return p.unknown(err)
		}
	}
	o := control.Order{Verb: string(update.RollBack), By: "ksctl"}
	if err := p.callAgent(context.Background(), control.Request{Verb: control.VerbOrder, Order: o}, ignore); err != nil {
		return p.outcome(err)
	}
	switch onTrial := s.Slots.OnTrial && s.State.Phase == update.Judging; {
	case !onTrial:
		return p.follow(asJSON)
	case !asJSON:
		fmt.Fprintln(p.Stdout, restarts(firstOf(s.Slots.Passive.Slot, "of before")))
	default:
		// A trial that is given up ends at once, and the agent with it: there may be
		// nobody left to ask.
		if _, text, err := p.updateNow(); err == nil {
			before = text
		}
		fmt.Fprintf(p.Stdout, "%s\n", before)
	}
	return exitGood
}

// confirm asks a person, aside when the output is for a program. Where there is
// none, the answer is no.
func (p Program) confirm(aside bool, question string) error {
	if !terminal(p.Stdin) {
		return errors.New("nobody is there to be asked: say --yes")
	}
	out := p.Stdout
	if aside {
		out = p.Stderr
	}
	fmt.Fprint(out, question)
	answer, _ := bufio.NewReader(p.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

func (p Program) updateCancel(args []string) int {
	flags := p.flags("update cancel", "", `Gives up an update for which the node has not restarted yet. What runs stays as it is.

Examples:
  ksctl update cancel
  ksctl update cancel -o json`)
	asJSON, status, ok := p.orderForm(flags, args, p.output(flags, "text"))
	if !ok {
		return status
	}
	o := control.Order{Verb: string(update.Cancel), By: "ksctl"}
	if err := p.callAgent(context.Background(), control.Request{Verb: control.VerbOrder, Order: o}, ignore); err != nil {
		return p.outcome(err)
	}
	if asJSON {
		// What was under way may be in the middle of a write, and ends after it.
		for began := time.Now(); time.Since(began) < patience; time.Sleep(updatePoll) {
			s, _, err := p.updateNow()
			if err != nil || s.State.Phase != update.Downloading && s.State.Phase != update.Staged {
				break
			}
		}
		return p.printNow()
	}
	fmt.Fprintln(p.Stdout, "the update is given up")
	return exitGood
}

// printNow prints how the update is, as one line for programs.
func (p Program) printNow() int {
	_, text, err := p.updateNow()
	if err != nil {
		return p.unknown(err)
	}
	fmt.Fprintf(p.Stdout, "%s\n", text)
	return exitGood
}

func restarts(slot string) string {
	return "the node restarts now into slot " + slot + "; ksctl update status says afterwards how it went"
}
