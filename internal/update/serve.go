package update

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kubesolo.io/os/internal/control"
)

// Updater is asked how an update is, and takes orders.
type Updater interface {
	// Status is what is known now. It waits for nothing.
	Status() Status
	// Order takes an order: it returns nil when the check is over, the update or
	// the way back has begun (State is busy from then on), or what was under way
	// is given up. ctx bounds the taking: what has begun goes on after its end.
	// The error says why the order is not carried out: ErrNothingNew when there
	// is nothing to do, a *Rejected when it never will be, any other when it may
	// be later, as when something else is under way or a server does not answer.
	Order(ctx context.Context, o Order) error
}

// ErrNothingNew is wrapped by the error of an Apply that finds what it asks for
// running already.
var ErrNothingNew = errors.New("nothing to install")

// Rejected is the error of an order that no waiting makes possible: a version
// that is refused, older, for another machine, or not there.
type Rejected struct{ Reason string }

func (r *Rejected) Error() string { return r.Reason }

// Verbs are all orders.
func Verbs() []Verb { return []Verb{Check, Apply, RollBack, Cancel} }

// Handler answers for u at the control socket.
func Handler(u Updater) control.Handler { return handler{u} }

type handler struct{ updater Updater }

func (h handler) Handle(ctx context.Context, r control.Request, send func(any) error) error {
	switch r.Verb {
	case control.VerbUpdate:
		return send(h.updater.Status())
	case control.VerbOrder:
		o := Order{Verb: Verb(r.Order.Verb), Version: r.Order.Version, Channel: r.Order.Channel, Source: r.Order.Source,
			Window: r.Order.Window, Force: r.Order.Force, By: r.Order.By}
		if !slices.Contains(Verbs(), o.Verb) {
			return fmt.Errorf("%w: no order %q; there are %v", control.ErrRequest, o.Verb, Verbs())
		}
		err := h.updater.Order(ctx, o)
		if errors.Is(err, ErrNothingNew) {
			return send(err.Error())
		}
		return err
	}
	return fmt.Errorf("%w: %s is not for ksagent, but for ksinit at %s", control.ErrRequest, r.Verb, control.Socket)
}
