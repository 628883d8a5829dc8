package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/cmdline"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/mount"
)

const (
	modulesFile = "/etc/kubesolo-os/modules"
	lateModules = "/etc/kubesolo-os/modules-late" // an image may have none
	sysctlFile  = "/etc/kubesolo-os/sysctl"
)

func (n *node) loadModules(names ...string) error { return loadModules(n.modules, names...) }

// modulesWithArgs is the index with what the kernel's arguments say of modules.
func (n *node) modulesWithArgs() (*kmod.Tree, error) {
	tree, err := n.index()
	if err == nil {
		tree.UseKernelArgs(n.args.Raw)
	}
	return tree, err
}

func (n *node) mountSystem(ctx context.Context) error {
	// Wanted soon: the modules there are, and the devices that want one.
	n.background("module index", func() { _, _ = n.index() })
	degraded, err := mountAll(systemMounts())
	if err != nil {
		return err
	}
	n.background("hardware", func() { _, _ = n.hardware() })
	// Links in the read-only /etc point here.
	for _, dir := range []string{"/run/etc", "/run/ksinit", "/var/lib", "/var/tmp", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("../run", "/var/run"); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	n.startPage()
	return boot.Degraded(errors.Join(degraded, n.openControl()))
}

func (n *node) mountKernelViews(context.Context) error {
	degraded, err := mountAll(kernelViews())
	return errors.Join(boot.Degraded(degraded), err)
}

// mountAll mounts what is not mounted yet. What is optional only degrades.
func mountAll(table mount.Table) (degraded, err error) {
	var refused []error
	for _, e := range table {
		// What came along from the initramfs, or was put there by
		// whoever started this, stays as it is. (/proc is first of all,
		// since this looks at it.)
		if _, err := mount.At(e.Target); err == nil && e.Type != "" {
			continue
		}
		err := e.Apply()
		if err != nil && !e.Optional {
			return nil, err
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...), nil
}

func (n *node) readArguments(ctx context.Context) error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		n.args, _ = cmdline.Parse("")
		return err
	}
	n.args, n.warnings = cmdline.Parse(string(line))
	// Without this the kernel drops what is said too fast. A kernel that
	// was told printk.devkmsg=off refuses.
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		n.log.Debug("rate limit of the log stays", "err", err)
	}
	// Warnings of the kernel belong on the console, its chatter does not:
	// our own lines go there directly.
	level := "4"
	if n.args.Debug {
		n.level.Set(-4) // slog.LevelDebug
		level = "8"
	}
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte(level), 0); err != nil {
		n.log.Debug("console log level stays", "err", err)
	}
	for _, word := range []struct {
		on   bool
		text string
	}{{n.args.NoPersist, "no persistence"}, {n.args.Debug, "debug"}, {n.args.Slot != "", "slot " + n.args.Slot}} {
		if word.on {
			boot.Note(ctx, "%s", word.text)
		}
	}
	var errs []error
	if n.args.Install != "" {
		errs = append(errs, errors.New("kubesolo.install: this release does not install itself; write the disk image to the disk instead"))
	}
	for _, w := range n.warnings {
		errs = append(errs, errors.New(w.String()))
	}
	return boot.Degraded(errors.Join(errs...))
}

func (n *node) setUpCgroups(ctx context.Context) error {
	tree, err := cgroup.Open(cgroup.Root)
	if err != nil {
		return fmt.Errorf("%w: services run without limits, and Kubernetes will not start; boot without cgroup_no_v1 and systemd.unified_cgroup_hierarchy arguments, on a kernel with CONFIG_CGROUPS", err)
	}
	own, err := tree.Make("init")
	if err != nil {
		return err
	}
	if err := own.Enter(); err != nil {
		return err
	}
	enabled, err := tree.EnableAll()
	n.groups = tree
	boot.Note(ctx, "%s", strings.Join(enabled, " "))
	return boot.Degraded(err)
}

func (n *node) loadListedModules(ctx context.Context) error {
	names, err := readList(modulesFile)
	if err != nil {
		return err
	}
	return n.loadList(ctx, names)
}

func (n *node) loadLateModules(ctx context.Context) error {
	names, err := readList(lateModules)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return n.loadList(ctx, names)
}

func (n *node) loadList(ctx context.Context, names []string) error {
	tree, err := n.modules()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := tree.Load(name, ""); err != nil {
			errs = append(errs, err)
		}
	}
	boot.Note(ctx, "%d of %d", len(names)-len(errs), len(names))
	return boot.Degraded(errors.Join(errs...))
}

func (n *node) coldplug(ctx context.Context) error {
	ready := sync.OnceFunc(func() { close(n.disksReady) })
	defer close(n.driversLoaded)
	defer ready()
	tree, err := n.modules()
	if err != nil {
		return err
	}
	hardware, err := n.hardware()
	if err != nil {
		return err
	}
	loaded, err := hardware.Coldplug(tree, ready)
	if len(loaded) > 0 {
		boot.Note(ctx, "%s", strings.Join(loaded, " "))
	}
	// What is plugged in later, for as long as the machine runs.
	n.background("hotplug", func() {
		err := hardware.Watch(context.Background(), tree, func(modalias string, loaded []string, err error) {
			n.log.Info("hotplug", "device", modalias, "loaded", strings.Join(loaded, " "), "err", fmt.Sprint(err))
		})
		if err != nil {
			n.log.Warn("hotplug ended", "err", err)
		}
	})
	return boot.Degraded(err)
}

// waitForDisks ends when no driver of a disk is left to load, which is before
// the end of coldplug.
func (n *node) waitForDisks(ctx context.Context) error {
	select {
	case <-n.disksReady:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readList reads words, one a line; '#' begins a comment.
func readList(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, text)
		}
	}
	return out, lines.Err()
}

func (n *node) setSysctls(ctx context.Context) error {
	lines, err := readList(sysctlFile)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, l := range lines {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return fmt.Errorf("%s: %q is not key = value", sysctlFile, l)
		}
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return writeSysctls(ctx, values)
}

// writeSysctls writes what it can. A key that this kernel does not have is a
// note: kernels differ, and the value is then of no use.
func writeSysctls(ctx context.Context, values map[string]string) error {
	var errs []error
	var absent []string
	for key, value := range values {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
		switch err := os.WriteFile(path, []byte(value), 0); {
		case err == nil:
		case errors.Is(err, os.ErrNotExist):
			absent = append(absent, key)
		default:
			errs = append(errs, fmt.Errorf("sysctl %s=%s: %w", key, value, err))
		}
	}
	boot.Note(ctx, "%d of %d", len(values)-len(absent)-len(errs), len(values))
	if len(absent) > 0 {
		boot.Note(ctx, "not in this kernel: %s", strings.Join(absent, " "))
	}
	return boot.Degraded(errors.Join(errs...))
}

// openEvents takes events of other programs, and gives them to a hypervisor
// that listens. A machine without its port is a normal one.
func (n *node) openEvents(ctx context.Context) error {
	conn, err := event.Listen(event.Socket)
	if err != nil {
		return err
	}
	n.closeAtEnd(conn)
	n.background("events", func() {
		if err := event.Serve(conn, n); err != nil {
			n.log.Error("events of other programs are lost from now on", "err", err)
		}
	})
	return n.openHostChannel(ctx)
}
