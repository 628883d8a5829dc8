// Package cgroup gives each service a control group of its own (cgroup v2).
//
// It owns making groups, enabling controllers, limits, killing a whole group
// and asking who was killed for memory. It never moves a running process into
// a group other than the caller's own: services are born in theirs
// (SysProcAttr.UseCgroupFD). A machine without cgroup v2, or without one of
// its controllers, is reported and then does without. Its tests mount a real
// cgroup2; limits are tested in a VM, where no cgroup v1 holds the controllers.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where cgroup v2 is mounted.
const Root = "/sys/fs/cgroup"

// ErrAbsent says that a directory is not a cgroup v2 file system.
var ErrAbsent = errors.New("no cgroup v2 here")

// Tree is a mounted cgroup v2 hierarchy.
type Tree struct{ root string }

// Open checks that cgroup v2 is mounted at root; if not the error is ErrAbsent.
func Open(root string) (*Tree, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", root, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("cgroup %s: %w", root, ErrAbsent)
	}
	return &Tree{root: root}, nil
}

// EnableAll lets the children of the root use every controller there is and
// returns the names of those that work. The error names those that refused;
// the others are enabled all the same. The caller must have left the root
// before (Group.Enter): a group with processes has no controllers to give,
// except for the real root.
func (t *Tree) EnableAll() ([]string, error) {
	available, err := os.ReadFile(filepath.Join(t.root, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var enabled []string
	var errs []error
	for _, c := range strings.Fields(string(available)) {
		if err := writeFile(t.root, "cgroup.subtree_control", "+"+c); err != nil {
			errs = append(errs, fmt.Errorf("cgroup: controller %s: %w", c, err))
			continue
		}
		enabled = append(enabled, c)
	}
	return enabled, errors.Join(errs...)
}

// Group is one control group.
type Group struct {
	Name string
	dir  string
}

// Make makes the group with that name below the root, or finds it there.
func (t *Tree) Make(name string) (*Group, error) {
	dir := filepath.Join(t.root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return &Group{Name: name, dir: dir}, nil
}

// Children are the groups directly below the root, by name.
func (t *Tree) Children() ([]*Group, error) {
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var groups []*Group
	for _, e := range entries {
		if e.IsDir() {
			groups = append(groups, &Group{Name: e.Name(), dir: filepath.Join(t.root, e.Name())})
		}
	}
	return groups, nil
}

// Limits of a group. Zero values leave the kernel's default. Sizes in bytes.
type Limits struct {
	MemoryMin  uint64 // never reclaimed below this
	MemoryLow  uint64 // reclaimed below this only when nothing else is left
	MemoryHigh uint64 // throttled and reclaimed above this
	MemoryMax  uint64 // killed above this
	CPUWeight  uint64 // 1 to 10000, 100 is the kernel's default
	PidsMax    uint64
}

func (l Limits) files() []struct {
	name  string
	value uint64
} {
	all := []struct {
		name  string
		value uint64
	}{
		{"memory.min", l.MemoryMin}, {"memory.low", l.MemoryLow}, {"memory.high", l.MemoryHigh},
		{"memory.max", l.MemoryMax}, {"cpu.weight", l.CPUWeight}, {"pids.max", l.PidsMax},
	}
	return slices.DeleteFunc(all, func(f struct {
		name  string
		value uint64
	}) bool {
		return f.value == 0
	})
}

func (l Limits) String() string {
	var parts []string
	for _, f := range l.files() {
		value := strconv.FormatUint(f.value, 10)
		if strings.HasPrefix(f.name, "memory.") && f.value%(1<<20) == 0 {
			value = strconv.FormatUint(f.value>>20, 10) + "M"
		}
		parts = append(parts, f.name+"="+value)
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, " ")
}

// Apply writes the limits. It tries all of them; the error names those that
// did not work, typically for want of a controller.
func (g *Group) Apply(l Limits) error {
	var errs []error
	for _, f := range l.files() {
		if err := writeFile(g.dir, f.name, strconv.FormatUint(f.value, 10)); err != nil {
			errs = append(errs, fmt.Errorf("cgroup %s: %w", g.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Enter moves the calling process, all threads, into the group.
func (g *Group) Enter() error {
	if err := writeFile(g.dir, "cgroup.procs", "0"); err != nil {
		return fmt.Errorf("cgroup %s: %w", g.Name, err)
	}
	return nil
}

// Dir opens the group's directory, whose descriptor SysProcAttr.CgroupFD takes
// to start a process in it (clone3, Linux 5.7).
func (g *Group) Dir() (*os.File, error) {
	f, err := os.OpenFile(g.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", g.Name, err)
	}
	return f, nil
}

// Kill sends SIGKILL to every process of the group and of those below it
// (cgroup.kill, Linux 5.14). A process group cannot be trusted with this: a
// child that called setsid has left it.
func (g *Group) Kill() error {
	if err := writeFile(g.dir, "cgroup.kill", "1"); err != nil {
		return fmt.Errorf("cgroup %s: %w", g.Name, err)
	}
	return nil
}

// WaitEmpty waits until no process is left in the group and below.
func (g *Group) WaitEmpty(ctx context.Context) error {
	for {
		n, err := g.counter("cgroup.events", "populated")
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s: processes are left: %w", g.Name, ctx.Err())
		// An inotify watch would cost a descriptor per group for a wait
		// that is a few milliseconds after a kill.
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// OOMKills counts the processes of the group that the kernel has killed for
// want of memory. A group without the memory controller has none.
func (g *Group) OOMKills() (uint64, error) {
	n, err := g.counter("memory.events", "oom_kill")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return n, err
}

// Remove removes the group and those below it, which must be empty.
//
// A group that was killed must not be used again: since the fix of a race
// between fork and cgroup.kill (Linux 6.14 and stable trees) the kernel compares
// the kill count of the new process's group with that of its parent's, and
// kills whatever is started into a group that was ever killed. Seen on 6.18.
func (g *Group) Remove() error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return fmt.Errorf("cgroup %s: %w", g.Name, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			below := &Group{Name: g.Name + "/" + e.Name(), dir: filepath.Join(g.dir, e.Name())}
			if err := below.Remove(); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(g.dir); err != nil {
		return fmt.Errorf("cgroup %s: remove: %w", g.Name, err)
	}
	return nil
}

// counter reads one line "key number" of a flat-keyed file.
func (g *Group) counter(file, key string) (uint64, error) {
	content, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", g.Name, err)
	}
	for line := range strings.Lines(string(content)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cgroup %s: %s: %w", g.Name, file, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("cgroup %s: %s has no %q", g.Name, file, key)
}

// writeFile writes a control file with one write and never makes a file.
func writeFile(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
