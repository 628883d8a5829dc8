package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// retryEvery is how long a busy mount rests before the next try: the processes
// that held it were killed a moment ago and the kernel is still closing files.
const retryEvery = 100 * time.Millisecond

// UnmountAll unmounts everything but the root, the kernel's own file systems
// (/dev, /proc, /sys) and the running program where that is mounted by itself,
// children first. What stays busy until ctx ends, or for
// which nobody is left that could let go, is named with its holders in report
// and made read-only instead. The error lists what could be neither unmounted
// nor made read-only: only those lose a journal's work. Sync is the caller's.
func UnmountAll(ctx context.Context, report func(string)) error {
	return unmountBelow(ctx, "/", report)
}

func unmountBelow(ctx context.Context, top string, report func(string)) error {
	for {
		busy, progress, err := unmountPass(top)
		if err != nil {
			return err
		}
		if len(busy) == 0 {
			return nil
		}
		if progress {
			continue
		}
		select {
		case <-ctx.Done():
			return giveUp(busy, report)
		case <-time.After(retryEvery):
		}
	}
}

// unmountPass tries each mount once and returns those that are busy.
func unmountPass(top string) (busy []Info, progress bool, err error) {
	all, err := List()
	if err != nil {
		return nil, false, fmt.Errorf("unmount: %w", err)
	}
	for _, m := range childrenFirst(all) {
		if !below(m.Target, top) || kept(m.Target) {
			continue
		}
		switch err := unix.Unmount(m.Target, unix.UMOUNT_NOFOLLOW); {
		case err == nil:
			progress = true
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			// Gone with another one, or hidden below another mount.
		default:
			busy = append(busy, m)
		}
	}
	return busy, progress, nil
}

func below(path, top string) bool {
	return top == "/" || path == top || strings.HasPrefix(path, top+"/")
}

// kept are mounts that hold no data and that the rest of the shutdown reads.
func kept(target string) bool {
	if target == "/" {
		return true
	}
	if self, err := os.Executable(); err == nil && target == self {
		return true // busy as long as it runs
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if below(target, dir) {
			return true
		}
	}
	return false
}

// childrenFirst orders mounts so that a mount comes before the one it is on;
// among the rest, later mounts come first. The order of mountinfo is not
// enough: MS_MOVE gives an early mount a late parent.
func childrenFirst(all []Info) []Info {
	byID := make(map[int]Info, len(all))
	for _, m := range all {
		byID[m.ID] = m
	}
	depth := func(m Info) int {
		n := 0
		for m.Parent != m.ID && n <= len(all) {
			p, ok := byID[m.Parent]
			if !ok {
				break
			}
			m = p
			n++
		}
		return n
	}
	type ranked struct{ depth, pos int }
	rank := make(map[int]ranked, len(all))
	for i, m := range all {
		rank[m.ID] = ranked{depth(m), i}
	}
	out := append([]Info(nil), all...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := rank[out[i].ID], rank[out[j].ID]
		if a.depth != b.depth {
			return a.depth > b.depth
		}
		return a.pos > b.pos
	})
	return out
}

func giveUp(busy []Info, report func(string)) error {
	var errs []error
	for _, m := range busy {
		report(fmt.Sprintf("unmount %s: busy, held by %s", m.Target, holdersText(Holders(m))))
		if contains(m.SuperOptions, "ro") || memoryOnly(m.Type) {
			continue
		}
		if err := unix.Mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			errs = append(errs, fmt.Errorf("%s stays mounted writable: %w", m.Target, err))
		}
	}
	return errors.Join(errs...)
}

// memoryOnly file systems have nothing that a power-off could damage.
func memoryOnly(fsType string) bool {
	switch fsType {
	case "tmpfs", "ramfs", "overlay", "cgroup", "cgroup2", "nsfs", "bpf", "mqueue", "devpts", "proc", "sysfs", "devtmpfs":
		return true
	}
	return false
}

// Sync writes back all file systems; it gives up when ctx ends, because a dead
// disk blocks sync(2) for ever. The call itself cannot be cancelled and is left.
func Sync(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sync: not finished in time, a disk does not answer: %w", ctx.Err())
	}
}
