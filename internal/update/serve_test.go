package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/control"
)

// scripted takes orders as a test wants.
type scripted struct {
	status Status
	order  func(Order) error
}

func (s scripted) Status() Status                         { return s.status }
func (s scripted) Order(_ context.Context, o Order) error { return s.order(o) }

func TestHandler(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var taken Order
	go func() {
		_ = control.Serve(l, Handler(scripted{Status{Version: "0.1.0", State: State{Phase: Downloading}}, func(o Order) error {
			taken = o
			switch o.Version {
			case "0.1.0":
				return fmt.Errorf("%w: 0.1.0 runs already", ErrNothingNew)
			case "0.0.9":
				return &Rejected{"0.0.9 is older than what runs"}
			}
			return nil
		}}))
	}()
	var s Status
	if err := control.Get(t.Context(), path, control.VerbUpdate, &s); err != nil || s.Version != "0.1.0" || s.State.Phase != Downloading {
		t.Errorf("%+v, %v", s, err)
	}
	order := func(o control.Order) (line string, err error) {
		o.By = "ksctl"
		err = control.Call(t.Context(), path, control.Request{Verb: control.VerbOrder, Order: o}, func(data json.RawMessage) error {
			return json.Unmarshal(data, &line)
		})
		return line, err
	}
	want := Order{Verb: Apply, Version: "0.2.0", Channel: "c", Source: "s", Window: "w", Force: true, By: "ksctl"}
	line, err := order(control.Order{Verb: "apply", Version: "0.2.0", Channel: "c", Source: "s", Window: "w", Force: true})
	if err != nil || line != "" || taken != want {
		t.Errorf("%q, %v, taken as %+v", line, err, taken)
	}
	if line, err := order(control.Order{Verb: "apply", Version: "0.1.0"}); err != nil || line != "nothing to install: 0.1.0 runs already" {
		t.Errorf("nothing new: %q, %v", line, err)
	}
	for o, want := range map[control.Order]string{
		{Verb: "apply", Version: "0.0.9"}: "refused: 0.0.9 is older than what runs",
		{Verb: "format"}:                  `no order "format"; there are [check apply rollback cancel]`,
	} {
		if _, err := order(o); !errors.Is(err, control.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if err := control.Get(t.Context(), path, control.VerbReboot, nil); err == nil || !strings.Contains(err.Error(), "ksinit") {
		t.Errorf("an order for PID 1: %v", err)
	}
}
