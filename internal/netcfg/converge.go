package netcfg

import (
	"errors"
	"fmt"
)

// Kernel is what Converge needs of the system; netcfg/kernel has the real one.
type Kernel interface {
	Snapshot() (State, error)
	Do(Op) error
}

// rounds bounds Converge: one does the work, a second catches what the kernel
// changed along the way, a third sees that nothing is left.
const rounds = 3

// Converge brings the kernel to the target that target derives from the state,
// and returns the changes that were made. An operation that is refused does not keep
// the others from being tried; the error names each refused one.
func Converge(k Kernel, target func(State) Want) ([]Op, error) {
	var done []Op
	for range rounds {
		have, err := k.Snapshot()
		if err != nil {
			return done, fmt.Errorf("read the network state: %w", err)
		}
		ops := Diff(target(have), have)
		if len(ops) == 0 {
			return done, nil
		}
		var errs []error
		for _, op := range ops {
			if err := k.Do(op); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", op, err))
				continue
			}
			done = append(done, op)
		}
		if len(errs) > 0 {
			return done, errors.Join(errs...)
		}
	}
	return done, nil
}
