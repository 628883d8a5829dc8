package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fsckPath  = "/usr/sbin/e2fsck"
	fsckLimit = 4 * time.Minute
)

// fsckRepaired are the bits of e2fsck's exit status that are good news; the
// second asks for a restart where the file system was mounted, see e2fsck(8).
const fsckRepaired = 1 | 2

// repairExt4 lets e2fsck repair what is safe to repair without a person who
// answers its questions.
func (n *node) repairExt4(ctx context.Context, device string) (string, error) {
	// The step has more: a check that takes longer must not end the boot.
	ctx, cancel := context.WithTimeout(ctx, fsckLimit)
	defer cancel()
	// -f: a mark may be set in a superblock that says clean.
	status, err := n.fsck(ctx, "-fp", device)
	if err != nil {
		return "", err
	}
	if status&^fsckRepaired != 0 {
		return "", fmt.Errorf("e2fsck -fp ended with status %d; its lines are in the kernel's log", status)
	}
	return "e2fsck -fp repaired it", nil
}

// fsck runs e2fsck to its end, each line to the log, and gives its status.
func (n *node) fsck(ctx context.Context, options, device string) (status int, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, errors.Join(err, in.Close())
	}
	p, err := n.reaper.Start(fsckPath, []string{"e2fsck", options, device}, &syscall.ProcAttr{
		Dir: "/", Env: baseEnv(), Files: []uintptr{null.Fd(), in.Fd(), in.Fd()},
	})
	if err = errors.Join(err, null.Close(), in.Close()); err != nil {
		return 0, err
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n.log.Info(lines.Text(), "step", "data")
		}
	}()
	select {
	case exit := <-p.Exited():
		<-logged
		if !exit.Status.Exited() {
			return 0, fmt.Errorf("e2fsck: %s", exit)
		}
		return exit.Status.ExitStatus(), nil
	case <-ctx.Done():
		// The superblock keeps its mark, so the next boot checks again. It
		// must be gone before the mount.
		if err := p.Signal(unix.SIGTERM); err == nil {
			<-p.Exited()
		}
		return 0, fmt.Errorf("e2fsck: not done after %v", fsckLimit)
	}
}
