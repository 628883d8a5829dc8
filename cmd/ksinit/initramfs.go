package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/mount"
)

const (
	// rootImage is the system root; where it exists, this is the initramfs.
	rootImage = "/root.squashfs"
	sysroot   = "/sysroot"
	initPath  = "/sbin/init"
	initName  = "init" // of ksinit in the initramfs
)

// initramfs goes from the initramfs to the system root and executes itself
// there. It returns only with an error.
func initramfs() error {
	degraded, err := earlyMounts().Apply()
	if err != nil {
		return err
	}
	if err := claimConsole(); err != nil {
		return err
	}
	if degraded != nil {
		fmt.Fprintf(os.Stdout, "[%6.2f] degraded  initramfs: %v\n", event.Now(), degraded)
	}
	if err := loadModules(openModules, "loop", "squashfs"); err != nil {
		// They may be built in without a list that says so: the mount
		// below is the judge.
		fmt.Fprintf(os.Stdout, "[%6.2f] degraded  initramfs: %v\n", event.Now(), err)
	}
	dev, err := mount.LoopAttach(rootImage, true)
	if err != nil {
		return fmt.Errorf("%w: is the loop module in this initramfs?", err)
	}
	root := mount.Entry{Source: dev, Target: sysroot, Type: "squashfs", Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV}
	if err := root.Apply(); err != nil {
		return fmt.Errorf("%w: is the squashfs module in this initramfs, and %s whole?", err, rootImage)
	}
	// The program that runs is /sbin/init of the system too. It is in memory
	// already: to read it from the squashfs again took 0.3 s under emulation,
	// and a second copy is 2 MB of every image.
	self := mount.Entry{Source: "/" + initName, Target: sysroot + initPath, Flags: unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV}
	if err := self.Apply(); err != nil {
		return fmt.Errorf("%w: has the system root no %s?", err, initPath)
	}
	if err := mount.SwitchRoot(sysroot, initName); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "[%6.2f] ok        initramfs: system root is %s, read-only\n", event.Now(), dev)
	// Without huge pages, which round a heap of 2 MB up to many. Through
	// the runtime's own switch: prctl(PR_SET_THP_DISABLE) would be inherited
	// by every pod.
	err = unix.Exec(initPath, os.Args, []string{"KSINIT_STAGE=system", "GODEBUG=disablethp=1"})
	return fmt.Errorf("exec %s: %w", initPath, err)
}

// claimConsole makes /dev/console the standard files when the kernel could
// not: it opens the initramfs's own node, and an initramfs may have none.
func claimConsole() error {
	var st unix.Stat_t
	if err := unix.Fstat(1, &st); err == nil && st.Rdev != unix.Mkdev(1, 3) {
		return nil // not /dev/null, which the Go runtime opens in its place
	}
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil //nolint:nilerr // a machine without a console boots all the same
	}
	for to := range 3 {
		if err := unix.Dup3(fd, to, 0); err != nil {
			return fmt.Errorf("console: %w", err)
		}
	}
	return nil
}

// loadModules loads modules of the running kernel by name. It tries all; the
// error names those that are not there or were refused.
func loadModules(open func() (*kmod.Tree, error), names ...string) error {
	tree, err := open()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, tree.Load(name, ""))
	}
	return errors.Join(errs...)
}

func openModules() (*kmod.Tree, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	return kmod.Open("/", unix.ByteSliceToString(u.Release[:]))
}
