package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shellPath      = "/bin/busybox"
	activeConsoles = "/sys/class/tty/console/active"
)

// emergency ends a boot that cannot go on: with a shell where the policy
// allows one, else with a restart, which the update logic counts.
func (n *node) emergency(ctx context.Context, err error) {
	n.log.Error("the boot cannot go on", "err", err)
	n.console.line("failed", "the boot cannot go on: %v", err)
	if n.args.Shell || n.args.ShellOnFailure || n.args.Debug {
		n.shells(ctx)
		return
	}
	n.console.line("failed", "restarting in %v; kubesolo.shell=on-failure on the kernel command line gives a shell instead", fatalDelay)
	select {
	case <-time.After(fatalDelay):
		n.asked <- restartNode
	case <-ctx.Done():
	}
}

// shells keeps a shell on every console of the machine until ctx ends.
func (n *node) shells(ctx context.Context) {
	n.stopPage()
	consoles := consoleDevices()
	n.console.line("ok", "shell on %s; leave with poweroff or reboot", strings.Join(consoles, " "))
	n.console.wait()
	var wg sync.WaitGroup
	for _, tty := range consoles {
		wg.Add(1)
		n.background("shell on "+tty, func() {
			defer wg.Done()
			n.keepShell(ctx, tty)
		})
	}
	wg.Wait()
}

// consoleDevices are the real devices behind /dev/console, which itself cannot
// be a controlling terminal without luck.
func consoleDevices() []string {
	active, err := os.ReadFile(activeConsoles)
	var out []string
	for _, name := range strings.Fields(string(active)) {
		if _, err := os.Stat("/dev/" + name); err == nil {
			if name == "tty0" { // stands for the terminal in front
				name = "tty1"
			}
			out = append(out, "/dev/"+name)
		}
	}
	if err != nil || len(out) == 0 {
		return []string{"/dev/console"}
	}
	return out
}

func (n *node) keepShell(ctx context.Context, tty string) {
	for ctx.Err() == nil {
		begin := time.Now()
		err := n.shellOnce(ctx, tty)
		if err != nil {
			n.console.line("failed", "shell on %s: %v", tty, err)
		}
		if time.Since(begin) < time.Second { // a line that is not connected
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
			}
		}
	}
}

func (n *node) shellOnce(ctx context.Context, tty string) error {
	f, err := os.OpenFile(tty, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := f.Fd()
	p, err := n.reaper.Start(shellPath, []string{"sh", "-l"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(baseEnv(), "TERM="+terminal(tty), `PS1=ksinit:\w# `),
		Files: []uintptr{fd, fd, fd},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		return fmt.Errorf("%w: this image has no shell", err)
	}
	select {
	case <-p.Exited():
	case <-ctx.Done():
	}
	return nil
}

func terminal(tty string) string {
	if strings.HasPrefix(tty, "/dev/tty") && len(tty) > 8 && tty[8] >= '0' && tty[8] <= '9' {
		return "linux"
	}
	return "vt102"
}
