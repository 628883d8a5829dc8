// Package guest is what the small programs that are PID 1 of a test machine have
// in common: the first mounts, and the modules named in /modules.
//
// It never runs on the build host. The machines of test/small are its test.
package guest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/kmod"
)

// Mount mounts file systems, each "TYPE TARGET OPTIONS" (the last may be missing).
func Mount(entries ...string) error {
	for _, e := range entries {
		f := append(strings.Fields(e), "")
		if err := os.MkdirAll(f[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount(f[0], f[1], f[0], 0, f[2]); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", f[1], err)
		}
	}
	return nil
}

// LoadModules loads the modules named in the file /modules.
func LoadModules() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	tree, err := kmod.Open("/", unix.ByteSliceToString(uts.Release[:]))
	if err != nil {
		return err
	}
	list, err := os.ReadFile("/modules")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := tree.Load(name, ""); err != nil {
			return err
		}
	}
	return nil
}
