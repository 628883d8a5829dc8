package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"kubesolo.io/os/internal/boot"
)

// Files of the kernel's lockdown (kernel_lockdown(7)) and of its taints.
const (
	lockdownFile = "/sys/kernel/security/lockdown"
	taintedFile  = "/proc/sys/kernel/tainted"
)

// unsignedModule is the taint E (admin-guide/tainted-kernels): a module whose
// signature the kernel could not check was loaded.
const unsignedModule = 1 << 13

// lockDown keeps also root from changing the running kernel, once the modules
// of the image are loaded. It is done here and not by the boot menu, because the
// kernel is the slot's and the menu is not: on a kernel whose modules are not
// signed it would refuse those of hardware that is plugged in later.
func (n *node) lockDown(ctx context.Context) error {
	have, err := os.ReadFile(lockdownFile)
	if errors.Is(err, fs.ErrNotExist) {
		boot.Note(ctx, "not in this kernel")
		return nil
	} else if err != nil {
		return err
	}
	tainted, err := os.ReadFile(taintedFile)
	if err != nil {
		return err
	}
	level, reason := lockdownLevel(n.args.Raw, string(have), strings.TrimSpace(string(tainted)))
	boot.Note(ctx, "%s", reason)
	if level == "" {
		return nil
	}
	if err := os.WriteFile(lockdownFile, []byte(level), 0); err != nil {
		return fmt.Errorf("lockdown=%s: %w", level, err)
	}
	return nil
}

// lockdownLevel decides on the level to write, "" for none, and says why.
func lockdownLevel(arguments, have, tainted string) (level, reason string) {
	for _, word := range strings.Fields(arguments) {
		if strings.HasPrefix(word, "lockdown=") {
			return "", "left as the kernel's argument says: " + word
		}
	}
	if !strings.Contains(have, "[none]") {
		return "", "already: " + strings.TrimSpace(have)
	}
	if taint, err := strconv.ParseUint(tainted, 10, 64); err != nil || taint&unsignedModule != 0 {
		return "", "none: modules are loaded that no key of this kernel has signed"
	}
	return "integrity", "integrity"
}
