package abslot

import (
	"bytes"
	"fmt"
)

// Copies are the contents of env1 and env2, Size bytes each.
type Copies [2][]byte

// Write is one write to make: all of a copy. It must be on the medium before the
// next one begins.
type Write struct {
	Copy int // 0 for env1, 1 for env2
	Data []byte
}

// Choose gives the state that counts and the copy that it is in: a valid copy
// before an invalid one, then the higher generation, then fewer tries (the power
// failed between GRUB's two writes). Without a valid copy the error names what is
// wrong with each, and wraps ErrInvalid.
func (c Copies) Choose() (State, int, error) {
	first, err1 := Decode(c[0])
	second, err2 := Decode(c[1])
	switch {
	case err1 != nil && err2 != nil:
		return State{}, 0, fmt.Errorf("env1: %w; env2: %w", err1, err2)
	case err1 != nil || err2 == nil && later(second, first):
		return second, 1, nil
	}
	return first, 0, nil
}

func later(s, than State) bool {
	return s.Generation > than.Generation || s.Generation == than.Generation && s.Tries < than.Tries
}

// Writes are what brings both copies to a new state, in their order: the copy that
// counts is the last one, when the other is there to fall back to. A copy that
// has the state already is left alone.
func (c Copies) Writes(next State) ([]Write, error) {
	data, err := next.Encode()
	if err != nil {
		return nil, err
	}
	last := 0
	if _, chosen, err := c.Choose(); err == nil {
		last = chosen
	}
	var out []Write
	for _, i := range []int{1 - last, last} {
		if !bytes.Equal(c[i], data) {
			out = append(out, Write{Copy: i, Data: data})
		}
	}
	return out, nil
}

// Heal is what a node has to write at boot so that both copies are valid and the
// same: nothing, unless the power failed during a write. When both copies are lost
// the slot that runs is the good one, or the other one if this is a trial.
func (c Copies) Heal(running Slot, trial bool) (State, []Write, error) {
	s, _, err := c.Choose()
	if err != nil {
		if !running.valid() {
			return State{}, nil, fmt.Errorf("%w; and the system was not started from slot A or B", err)
		}
		s = First(running)
		if trial {
			s = State{Generation: 1, Good: running.Other(), Trial: running}
		}
	}
	writes, err := c.Writes(s)
	return s, writes, err
}
