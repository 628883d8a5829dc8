package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Load loads a module, or what an alias names, with everything it needs. The
// parameters are for the module itself; parameters of the kernel command line
// are added for each module. A module that is loaded or built in is a success.
//
// Errors: ErrNotFound, ErrNoHardware, or the errno of finit_module(2) with the
// file that was refused.
func (t *Tree) Load(name, params string) error {
	_, err := t.load(name, params)
	return err
}

// load returns the modules it loaded itself.
func (t *Tree) load(name, params string) ([]string, error) {
	modules, builtin := t.resolve(name)
	if len(modules) == 0 {
		if builtin {
			return nil, nil
		}
		return nil, t.notFound(name)
	}
	var loaded []string
	var errs []error
	for _, m := range modules {
		if err := t.loadOne(m, params, &loaded, map[string]bool{}); err != nil {
			errs = append(errs, fmt.Errorf("module %s: %w", m, err))
		}
	}
	return loaded, errors.Join(errs...)
}

// loadOne loads m after its dependencies. Hard dependencies must load; soft
// ones may fail. visiting breaks cycles, which soft dependencies can form.
// Several may run at once: each waits for another only while that one is inside
// finit_module(2), so no two can wait for each other.
func (t *Tree) loadOne(m, params string, loaded *[]string, visiting map[string]bool) error {
	if visiting[m] || t.isDone(m) {
		return nil
	}
	visiting[m] = true
	for _, d := range t.deps[m] {
		if err := t.loadOne(d, "", loaded, visiting); err != nil {
			return fmt.Errorf("needs %s: %w", d, err)
		}
	}
	t.loadSoft(t.pre[m], loaded, visiting)
	all := strings.Join(t.params[m], " ")
	if params != "" {
		all = strings.TrimSpace(all + " " + params)
	}
	if !t.claim(m) {
		return nil
	}
	err := t.insert(filepath.Join(t.dir, t.path[m]), all)
	ours := err == nil
	if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	t.unclaim(m, err == nil)
	switch {
	case ours:
		*loaded = append(*loaded, m)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", ErrNoHardware, err)
	case err != nil:
		return err
	}
	t.loadSoft(t.post[m], loaded, visiting)
	return nil
}

func (t *Tree) isDone(m string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[m]
}

// claim makes the caller the one who inserts m, once nobody else does. It is
// false when m is loaded by then.
func (t *Tree) claim(m string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.done[m] {
		if !t.busy[m] {
			t.busy[m] = true
			return true
		}
		t.idle.Wait()
	}
	return false
}

// unclaim ends a claim, with m loaded or not.
func (t *Tree) unclaim(m string, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy[m], t.done[m] = false, done
	t.idle.Broadcast()
}

func (t *Tree) loadSoft(names []string, loaded *[]string, visiting map[string]bool) {
	for _, n := range names {
		modules, _ := t.resolve(n)
		for _, m := range modules {
			// A soft dependency only improves things (a faster crc32c).
			_ = t.loadOne(m, "", loaded, visiting)
		}
	}
}

// insertFile calls finit_module(2). A compressed file is left to the kernel,
// which can do the one algorithm it was built for (CONFIG_MODULE_DECOMPRESS,
// 5.17; zstd since 6.2) and names it in /sys/module/compression.
func insertFile(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if algorithm := compression(file); algorithm != "" {
		have, err := os.ReadFile("/sys/module/compression")
		if got := strings.TrimSpace(string(have)); err != nil || got != algorithm {
			if got == "" {
				got = "none"
			}
			return fmt.Errorf("%s is compressed with %s and the kernel can unpack %s: put the plain .ko file into the image: %w",
				file, algorithm, got, unix.EOPNOTSUPP)
		}
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), params, flags); err != nil {
		if errors.Is(err, unix.EPERM) && isLoaded(moduleName(file)) {
			// A service without CAP_SYS_MODULE asks for what is there.
			return unix.EEXIST
		}
		return explain(file, params, err)
	}
	return nil
}

func isLoaded(module string) bool {
	_, err := os.Stat("/sys/module/" + module)
	return err == nil
}

func compression(file string) string {
	switch filepath.Ext(file) {
	case ".xz":
		return "xz"
	case ".zst":
		return "zstd"
	case ".gz":
		return "gzip"
	}
	return ""
}

// explain adds what the usual errnos of finit_module mean; the kernel log has
// the details.
func explain(file, params string, err error) error {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s: %w (built for another kernel)", file, err)
	case errors.Is(err, unix.EKEYREJECTED):
		return fmt.Errorf("%s: %w (not signed by a key of this kernel, and it is locked down)", file, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w (without CAP_SYS_MODULE, which services do not have, or an unsigned module under lockdown)", file, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w (a symbol or parameter is unknown to this kernel; parameters: %q)", file, err, params)
	case errors.Is(err, unix.EINVAL) && params != "":
		return fmt.Errorf("%s: %w (bad parameters %q?)", file, err, params)
	}
	return fmt.Errorf("%s: %w", file, err)
}
