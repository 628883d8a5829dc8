// Command cutinit is PID 1 of the power-cut test: it loads the modules named in
// /modules, mounts each disk to look at in turn as the data file system is
// mounted, lets /powercut look at it, and unmounts it. Then it mounts the
// one to write to and lets /powercut write to it until the power is cut, or powers off.
//
// With cut.full it fills the one disk to its last block under the store, and
// lets both go through one more boot.
//
// Disks are known by their serials: "write" is the first, the others are "look0"
// and so on. What it has to say is on the console: `cut: look0 state {...}`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/datafs"
	"kubesolo.io/os/test/small/guest"
)

const target = "/mnt"

func main() {
	if err := run(); err != nil {
		fmt.Println("cut: error", err)
	}
	fmt.Println("cut: end")
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	select {}
}

func run() error {
	if err := guest.Mount("devtmpfs /dev", "proc /proc", "sysfs /sys", "tmpfs /run", "tmpfs /tmp"); err != nil {
		return err
	}
	if err := guest.LoadModules(); err != nil {
		return err
	}
	disks, err := findDisks()
	if err != nil {
		return err
	}
	for i := range len(disks) - 1 {
		name := fmt.Sprint("look", i)
		if err := look(name, disks[name]); err != nil {
			fmt.Printf("cut: %s error %v\n", name, err)
		}
	}
	command, err := os.ReadFile("/proc/cmdline")
	if err == nil && strings.Contains(string(command), "cut.full") {
		return full(disks["write"])
	}
	if err != nil || !strings.Contains(string(command), "cut.write=") {
		return err
	}
	_, offset, _ := strings.Cut(string(command), "cut.write=")
	return write(disks["write"], strings.Fields(offset)[0])
}

// findDisks gives the disks by serial, when there are as many as the kernel
// command line says.
func findDisks() (map[string]string, error) {
	command, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	var want int
	_, number, _ := strings.Cut(string(command), "cut.disks=")
	if _, err := fmt.Sscan(number, &want); err != nil {
		return nil, fmt.Errorf("cut.disks: %w", err)
	}
	found := map[string]string{}
	for range 3000 {
		serials, err := filepath.Glob("/sys/block/vd*/serial")
		if err != nil {
			return nil, err
		}
		for _, file := range serials {
			disk := "/dev/" + filepath.Base(filepath.Dir(file))
			serial, err := os.ReadFile(file)
			if _, missing := os.Stat(disk); err == nil && missing == nil {
				found[strings.TrimSpace(string(serial))] = disk
			}
		}
		if len(found) >= want {
			return found, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("disks %v, want %d", found, want)
}

func mount(disk string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(disk, target, "ext4", datafs.MountFlags, datafs.MountOptions)
	if errors.Is(err, unix.EUCLEAN) { // a torn commit, which internal/datafs repairs too
		if _, err = guest.Repair(context.Background(), disk); err == nil {
			err = unix.Mount(disk, target, "ext4", datafs.MountFlags, datafs.MountOptions)
		}
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", disk, err)
	}
	return nil
}

func look(name, disk string) error {
	if err := mount(disk); err != nil {
		return err
	}
	out, err := exec.Command("/powercut", "look", target).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	if unmounted := unix.Unmount(target, 0); unmounted != nil {
		return fmt.Errorf("unmount: %w", unmounted)
	}
	if err == nil {
		fmt.Printf("cut: %s %s\n", name, strings.TrimSpace(string(out)))
	}
	return err
}

func full(disk string) error {
	for boot := 1; boot <= 2; boot++ {
		res, err := datafs.Prepare(context.Background(), datafs.Options{Spec: disk, Target: target, Template: "/data.ext4.gz"})
		if err != nil || res.State != datafs.Mounted {
			return fmt.Errorf("boot %d: %+v %w", boot, res, err)
		}
		out, err := exec.Command("/powercut", "some", target, "40").CombinedOutput()
		fmt.Printf("cut: boot %d %s; %v; %q\n", boot, strings.TrimSpace(string(out)), err, res.Notes)
		if err := fillUp(target + "/fill"); err != nil {
			return err
		}
		if err := unix.Unmount(target, 0); err != nil {
			return err
		}
	}
	return nil
}

// fillUp leaves not one block.
func fillUp(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, size := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func write(disk, offset string) error {
	if err := mount(disk); err != nil {
		return err
	}
	writer := exec.Command("/powercut", "write", target, disk, offset)
	writer.Stdout, writer.Stderr = os.Stdout, os.Stdout
	return writer.Run()
}
