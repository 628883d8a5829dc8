package gobuild

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"runtime/debug"

	"kubesolo.io/os/internal/image/inputs"
)

// lockModules records every Go module that was linked into a program, by what the
// linker wrote into it, with the hash of go.sum (h1: a SHA-256 over the hashes of all
// files of the module, golang.org/x/mod/sumdb/dirhash). Of a replaced module it is the
// replacement; one of this checkout is no input. A program without Go is left out.
func (b Builder) lockModules(program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		// "not a Go executable" has no error value of its own: a program in C
		// has no section of Go's.
		f, open := elf.Open(program)
		if open != nil {
			return fmt.Errorf("modules of %s: %w", program, err)
		}
		defer func() { _ = f.Close() }() // read only
		if f.Section(".go.buildinfo") == nil {
			return nil
		}
		return fmt.Errorf("modules of %s: %w", program, err)
	}
	for _, m := range info.Deps {
		for m.Replace != nil {
			m = m.Replace
		}
		if in, ok := moduleInput(m); ok {
			b.Lock.Add(in)
		}
	}
	return nil
}

func moduleInput(m *debug.Module) (inputs.Input, bool) {
	if m.Sum == "" { // a directory of this checkout
		return inputs.Input{}, false
	}
	return inputs.Input{Name: m.Path, Kind: "go-module", Version: m.Version, Origin: m.Path + "@" + m.Version, GoSum: m.Sum}, true
}
