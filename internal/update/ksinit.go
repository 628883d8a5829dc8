package update

import (
	"context"
	"encoding/json"
	"fmt"

	"kubesolo.io/os/internal/control"
)

// Ksinit is the Node behind a control socket.
type Ksinit struct{ Socket string }

// Slots asks for the slots.
func (k Ksinit) Slots(ctx context.Context) (control.Slots, error) {
	var s control.Slots
	err := control.Get(ctx, k.Socket, control.VerbSlots, &s)
	return s, err
}

// Arm has the next boot try a slot.
func (k Ksinit) Arm(ctx context.Context, slot string) error {
	return k.order(ctx, control.Request{Verb: control.VerbArm, Slot: slot})
}

// Commit makes the running slot the one that is booted from now on.
func (k Ksinit) Commit(ctx context.Context) error {
	return k.order(ctx, control.Request{Verb: control.VerbCommit})
}

// RollBack gives the trial up, or takes back that one is armed.
func (k Ksinit) RollBack(ctx context.Context, reason string) error {
	return k.order(ctx, control.Request{Verb: control.VerbRollBack, Reason: reason})
}

// Reboot restarts the machine in order.
func (k Ksinit) Reboot(ctx context.Context) error {
	return k.order(ctx, control.Request{Verb: control.VerbReboot})
}

// Engine gives the process of kubesolo, 0 when it does not run.
func (k Ksinit) Engine(ctx context.Context) (pid int, err error) {
	var services []control.Service
	if err := control.Get(ctx, k.Socket, control.VerbServices, &services); err != nil {
		return 0, err
	}
	for _, s := range services {
		if s.Name == "kubesolo" && s.State == "ready" {
			return s.Pid, nil
		}
	}
	return 0, nil
}

// Medium has the medium with updates mounted, and gives its directory and
// device.
func (k Ksinit) Medium(ctx context.Context) (m control.Medium, err error) {
	err = control.Get(ctx, k.Socket, control.VerbMedium, &m)
	return m, err
}

// MediumEnd lets go of it.
func (k Ksinit) MediumEnd(ctx context.Context) error {
	return k.order(ctx, control.Request{Verb: control.VerbMediumEnd})
}

func (k Ksinit) order(ctx context.Context, r control.Request) error {
	if err := control.Call(ctx, k.Socket, r, func(json.RawMessage) error { return nil }); err != nil {
		return fmt.Errorf("ksinit: %w", err)
	}
	return nil
}
