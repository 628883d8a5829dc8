package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
)

func (p Program) update(args []string) int {
	return p.choose("ksctl update", "ksctl update installs another version of the system into the slot that does not run,\nand goes back to the one before.", args, []verb{
		{"check", "", "look for a version that could be installed", p.updateCheck},
		{"apply", "", "install a version, and restart into it", p.updateApply},
		{"status", "", "say how the update is, and what could be installed", p.updateStatus},
		{"rollback", "", "restart into the other slot", p.updateRollBack},
		{"history", "", "list what updates have done", p.updateHistory},
		{"cancel", "", "give up an update that the node has not restarted for", p.updateCancel},
	})
}

// callAgent asks ksagent, whose business updates are.
func (p Program) callAgent(ctx context.Context, r control.Request, take func(json.RawMessage) error) error {
	err := control.Call(ctx, p.path(control.AgentSocket), r, take)
	if errors.Is(err, control.ErrNoNode) || errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w; updates are ksagent's: ksctl services says whether it runs", err)
	}
	return err
}

// updateNow asks how the update is. The text has what this program does not know
// of, too.
func (p Program) updateNow() (s update.Status, text json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = p.callAgent(ctx, control.Request{Verb: control.VerbUpdate}, func(data json.RawMessage) error {
		text = data
		return json.Unmarshal(data, &s)
	})
	return s, text, err
}

func (p Program) updateStatus(args []string) int {
	var s update.Status
	return p.view(args, view{"update status", `Says what runs, how far an update is, what it waits for, and what could be installed.

Examples:
  ksctl update status
  ksctl update status -o json | jq -r .state.phase

Exit status: 0 when all is well, 1 when the last update failed or was taken back.`,
		func() (any, error) {
			now, text, err := p.updateNow()
			s = now
			return text, err
		},
		func() error { return p.printUpdate(s) },
		func() int { return exitIf(s.State.Phase == update.Failed || s.State.Phase == update.RolledBack) }})
}

func (p Program) printUpdate(s update.Status) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, text string) { field(w, name, text) }
	st := s.State
	running := "KubeSolo OS " + orDash(s.Version)
	if s.Slots.Running != "" {
		running += ", slot " + s.Slots.Running
	}
	line("version", running)
	line("no updates", printable(s.Slots.Problem))
	if s.Slots.Problem == "" {
		line("other slot", otherSlot(s))
	}
	phase := p.paint(updateColour(st.Phase), string(st.Phase))
	if st.Payload.Version != "" && st.Phase != update.Idle {
		phase += " " + printable(st.Payload.Version)
	}
	if !st.Changed.IsZero() {
		phase += ", since " + instant(st.Changed)
	}
	line("phase", phase)
	line("message", printable(st.Message))
	line("waiting for", printable(s.Waiting))
	if st.Phase == update.Downloading && s.Total > 0 {
		line("progress", fmt.Sprintf("%d %%, %s", s.Done*100/s.Total, amount(s.Done, s.Total)))
	}
	switch {
	case s.Slots.OnTrial:
		line("trial", fmt.Sprintf("of slot %s; slot %s is back unless all is well %s after the start", s.Slots.Running, orDash(s.Slots.Good), span(s.Slots.Deadline)))
	case s.Slots.Trial != "":
		line("armed", fmt.Sprintf("the next start tries slot %s, which has %d tries", s.Slots.Trial, s.Slots.Tries))
	}
	found(w, s.Available)
	for _, r := range st.Refused {
		line("refused", fmt.Sprintf("%s since %s: %s", printable(r.Version), instant(r.Time), printable(r.Reason)))
	}
	return w.Flush()
}

// otherSlot says what is in the slot that does not run: an update went either
// there, or into the one that runs.
func otherSlot(s update.Status) string {
	slot, st := s.Slots.Passive.Slot, s.State
	if slot == "" {
		return ""
	}
	version, note := "", ""
	switch st.Slot {
	case slot:
		version = st.Payload.Version
		switch st.Phase {
		case update.Downloading:
			note = "is being written"
		case update.Staged, update.Armed:
			note = "not tried yet"
		case update.RolledBack:
			note = "failed its trial"
		case update.Idle, update.Failed:
			note = "not complete"
		}
	case s.Slots.Running:
		version, note = st.Current, "the one before"
	}
	if version == "" {
		return slot
	}
	return strings.TrimSuffix(slot+": "+printable(version)+", "+note, ", ")
}

// field writes one line of a table of names and values, if there is a value.
func field(w io.Writer, name, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s\t%s\n", name, text)
	}
}

// found writes what the last check found.
func found(w io.Writer, a *update.Available) {
	if a == nil {
		field(w, "available", "not checked yet")
		return
	}
	switch {
	case a.Error != "":
		field(w, "available", "the check failed: "+oneLine(a.Error))
	case a.Version == "":
		field(w, "available", strings.TrimSuffix("nothing: "+printable(a.Reason), ": "))
	default:
		field(w, "available", printable(a.Version))
		field(w, "notes", printable(a.Notes))
		field(w, "not now", printable(a.Reason))
	}
	field(w, "checked", strings.TrimSuffix(instant(a.Checked)+", "+printable(a.From), ", "))
}

func (p Program) updateCheck(args []string) int {
	flags := p.flags("update check", "", `Looks for a version that could be installed, and says why none is, or why the node would
not begin with it now.

Examples:
  ksctl update check
  ksctl update check --source https://updates.example.org/kubesolo-os

Exit status: 0 when the place answered, 1 when the check failed.`)
	o := control.Order{Verb: string(update.Check), By: "ksctl"}
	flags.StringVar(&o.Source, "source", "", "`place` to look at; the configured one when not given")
	flags.StringVar(&o.Channel, "channel", "", "`channel` to look in; the configured one when not given")
	form := p.output(flags, "text")
	asJSON, status, ok := p.orderForm(flags, args, form)
	if !ok {
		return status
	}
	if err := p.callAgent(context.Background(), control.Request{Verb: control.VerbOrder, Order: o}, ignore); err != nil {
		return p.outcome(err)
	}
	s, text, err := p.updateNow()
	if err != nil {
		return p.unknown(err)
	}
	if asJSON {
		var all struct {
			Available json.RawMessage `json:"available"`
		}
		if err = json.Unmarshal(text, &all); err == nil {
			err = p.json(all.Available)
		}
	} else {
		w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
		field(w, "version", "KubeSolo OS "+orDash(s.Version))
		found(w, s.Available)
		err = w.Flush()
	}
	if err != nil {
		return p.unknown(err)
	}
	return exitIf(s.Available == nil || s.Available.Error != "")
}

func (p Program) updateHistory(args []string) int {
	var s update.Status
	return p.view(args, view{"update history", `Lists what updates have done on this node, the newest last. The last 100 steps are kept.

Examples:
  ksctl update history
  ksctl update history -o json | jq '.[-1]'`,
		func() (any, error) {
			now, text, err := p.updateNow()
			if err != nil {
				return nil, err
			}
			s = now
			kept := struct {
				State struct {
					History json.RawMessage `json:"history"`
				} `json:"state"`
			}{}
			if err := json.Unmarshal(text, &kept); err != nil {
				return nil, err
			}
			if kept.State.History == nil {
				return []update.Entry{}, nil
			}
			return kept.State.History, nil
		},
		func() error {
			w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TIME\tPHASE\tVERSION\tMESSAGE")
			for _, e := range s.State.History {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", instant(e.Time), e.Phase, oneLine(e.Version), oneLine(e.Message))
			}
			return w.Flush()
		},
		func() int { return exitGood }})
}

func updateColour(p update.Phase) string {
	switch {
	case p.Busy():
		return yellow
	case p == update.Good:
		return green
	case p == update.Failed, p == update.RolledBack:
		return red
	}
	return plain
}

// instant is a time in UTC, as the maintenance window is.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// amount gives how many bytes of how many.
func amount(done, total int64) string {
	return fmt.Sprintf("%.1f of %.1f MB", float64(done)/1e6, float64(total)/1e6)
}

func ignore(json.RawMessage) error { return nil }
