package manager

import (
	"errors"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/kernel"
)

// loading is the kernel, with the modules of the links that it is asked for.
type loading struct {
	*kernel.Kernel
	load func(name, params string) error
}

func open(load func(name, params string) error) (loading, error) {
	k, err := kernel.Open()
	return loading{k, load}, err
}

// Do loads the module of a kind of link before it makes one: the kernel would
// ask for it by itself, but then bonding makes a bond of its own.
func (l loading) Do(op netcfg.Op) error {
	if op.Kind != netcfg.OpLinkAdd || l.load == nil {
		return l.Kernel.Do(op)
	}
	notLoaded := l.load(netcfg.Module(op.LinkKind))
	if err := l.Kernel.Do(op); err != nil {
		return errors.Join(err, notLoaded)
	}
	return nil
}
