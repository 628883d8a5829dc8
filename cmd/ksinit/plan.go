package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/mount"
)

// firstSteps make kernel arguments readable; the rest depends on them.
func (n *node) firstSteps() []boot.Step {
	return []boot.Step{
		{Name: "filesystems", Timeout: 10 * time.Second, Run: n.mountSystem},
		{Name: "arguments", Needs: []string{"filesystems"}, OnError: boot.Degrade, Run: n.readArguments},
	}
}

// hardwareSteps make the machine usable; they also come before a shell.
func (n *node) hardwareSteps() []boot.Step {
	return []boot.Step{
		// With nothing beside it: it patches the running kernel, among
		// others the page allocator, which retries by what cpusets are on. In
		// 3 of some 150 boots under multi-threaded emulation both CPUs hung
		// within 0.2 s of here, while modules were being loaded beside it.
		{Name: "cgroups", OnError: boot.Degrade, Run: n.setUpCgroups},
		{Name: "modules", After: []string{"cgroups"}, OnError: boot.Degrade, Run: n.loadListedModules},
		// Drivers by what the machine has, beside the listed modules: a
		// module that both want is loaded by one, and the other waits.
		{Name: "coldplug", After: []string{"cgroups"}, Timeout: time.Minute, OnError: boot.Degrade, Run: n.coldplug},
		{Name: "disks", After: []string{"cgroups"}, Timeout: time.Minute, OnError: boot.Degrade, Run: n.waitForDisks},
		{Name: "sysctl", After: []string{"modules"}, OnError: boot.Degrade, Run: n.setSysctls},
	}
}

// views are for tools and pods; no step needs them.
func (n *node) views(after string) boot.Step {
	return boot.Step{Name: "kernel-views", After: []string{after}, OnError: boot.Degrade, Run: n.mountKernelViews}
}

// nodeSteps make the machine a node.
func (n *node) nodeSteps() []boot.Step {
	return []boot.Step{
		{Name: "events", After: []string{"coldplug"}, OnError: boot.Degrade, Run: n.openEvents},
		{Name: "watchdog", After: []string{"coldplug"}, OnError: boot.Degrade, Run: n.startWatchdog},
		// Formatting and growing a slow card takes its time.
		{Name: "data", After: []string{"disks"}, Timeout: 5 * time.Minute, Run: n.prepareData},
		{Name: "binds", Needs: []string{"data"}, Run: n.bindData},
		{Name: "clock", Needs: []string{"binds"}, OnError: boot.Degrade, Run: n.raiseClock},
		{Name: "machine-id", Needs: []string{"binds"}, OnError: boot.Degrade, Run: n.setMachineID},
		// Beside what leads to the services, which do not wait for it.
		{Name: "last-boot", Needs: []string{"binds"}, After: []string{"watchdog", "clock"}, OnError: boot.Degrade, Run: n.tellLastBoot},
		{Name: "config-volume", After: []string{"coldplug"}, OnError: boot.Degrade, Run: n.readVolume},
		{Name: "config", Needs: []string{"binds"}, After: []string{"config-volume"}, OnError: boot.Degrade, Run: n.readConfig},
		{Name: "hostname", Needs: []string{"config"}, OnError: boot.Degrade, Run: n.setHostname},
		{Name: "settings", Needs: []string{"config"}, After: []string{"sysctl"}, OnError: boot.Degrade, Run: n.applySettings},
		// Without a network the node comes up all the same; this is how
		// long it waits for one.
		{Name: "network", After: []string{"hostname", "sysctl", "modules"}, Timeout: 45 * time.Second, OnError: boot.Degrade, Run: n.startNetwork},
		{Name: "remote-config", Needs: []string{"config"}, After: []string{"network", "clock"}, OnError: boot.Degrade, Run: n.fetchConfig},
		{Name: "slots", After: []string{"last-boot", "remote-config"}, OnError: boot.Degrade, Run: n.readSlots},
		{Name: "runtime", Needs: []string{"binds"}, After: []string{"config", "remote-config"}, OnError: boot.Degrade, Run: n.prepareRuntime},
		{Name: "services", Needs: []string{"binds"}, After: []string{"cgroups", "sysctl", "settings", "clock", "machine-id",
			"hostname", "events", "network", "remote-config", "runtime"}, Run: n.startServices},
		// What the first pod and the first rule want, seconds later.
		{Name: "late-modules", After: []string{"services"}, Timeout: time.Minute, OnError: boot.Degrade, Run: n.loadLateModules},
		n.views("services"),
		{Name: "swap", After: []string{"services"}, OnError: boot.Degrade, Run: n.startSwap},
		{Name: "lockdown", After: []string{"late-modules", "kernel-views", "swap", "coldplug"}, OnError: boot.Degrade, Run: n.lockDown},
	}
}

// boot brings the node up. It returns when the services have been started, or
// with the error of a fatal step.
func (n *node) boot(ctx context.Context) error {
	begin := time.Now()
	// Collect early from now on, and keep the pages. Module lists and device
	// scans were the largest this process will ever hold.
	defer func() {
		debug.SetGCPercent(50)
		debug.FreeOSMemory()
	}()
	if err := n.run(ctx, n.firstSteps()); err != nil {
		return err
	}
	if n.args.Shell {
		if err := n.run(ctx, append(n.hardwareSteps(), n.views("sysctl"))); err != nil {
			return err
		}
		n.console.line("ok", "shell: kubesolo.shell was given, no node is started")
		n.shells(ctx)
		return nil
	}
	if err := n.run(ctx, append(n.hardwareSteps(), n.nodeSteps()...)); err != nil {
		return err
	}
	n.log.Info("timeline", "total", time.Since(begin), "steps", boot.Timeline(n.results))
	n.console.line("ok", "boot: %d steps in %.2f s, version %s; services are starting",
		len(n.results), time.Since(begin).Seconds(), imageVersion("/etc/os-release"))
	return nil
}

func (n *node) run(ctx context.Context, steps []boot.Step) error {
	sequence, err := boot.New(steps...)
	if err != nil {
		return err
	}
	results, err := sequence.Run(ctx, n.observe)
	n.results = append(n.results, results...)
	return err
}

// plan prints what a boot does, without doing it.
func plan() (string, error) {
	n := &node{}
	var b strings.Builder
	for _, part := range []struct {
		title string
		steps []boot.Step
	}{
		{"First", n.firstSteps()},
		{"Then (before an emergency shell only cgroups to sysctl, and kernel-views)", append(n.hardwareSteps(), n.nodeSteps()...)},
	} {
		sequence, err := boot.New(part.steps...)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\n\n%s\n", part.title, indent(sequence.String()))
	}
	fmt.Fprintf(&b, "Mounts of the step filesystems\n\n%s\n", indent(systemMounts().String()))
	fmt.Fprintf(&b, "Mounts of the step kernel-views\n\n%s\n", indent(kernelViews().String()))
	fmt.Fprintf(&b, "Mounts of the step binds\n\n%s\n", indent(dataBinds().String()))
	fmt.Fprintf(&b, "Mounts of the step last-boot\n\n%s\n", indent(mount.Table{pstoreMount()}.String()))
	fmt.Fprintf(&b, "Mounts of the step runtime, only with a bundled runtime\n\n%s\n", indent(bundledMounts().String()))
	fmt.Fprintf(&b, "Services\n\n")
	for _, s := range services(config.RuntimeExternal, true, nil) {
		fmt.Fprintf(&b, "    %s\n        %s\n", s.Name, strings.ReplaceAll(strings.TrimPrefix(s.String(), s.Name+": "), "; ", "\n        "))
		fmt.Fprintf(&b, "        rights %v\n", s.Rights)
	}
	fmt.Fprintf(&b, "\nOn the way down\n\n")
	for _, p := range downPhases(n, restartNode) {
		fmt.Fprintf(&b, "    %-10s at most %v\n", p.name, p.limit)
	}
	fmt.Fprintf(&b, "    whatever is left after %v is cut off\n", downLimit)
	return b.String(), nil
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}
