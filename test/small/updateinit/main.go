// Command updateinit is PID 1 of the slots that TestUpdatePowerCuts boots. It
// plays ksinit and ksagent: the slot state by internal/bootenv as cmd/ksinit
// keeps it, and the engine of updates with everything below it. Only the judge of
// a trial's health and the database are stand-ins.
//
// Before it does anything it reads the slot that it was started from, and compares
// it with the hashes on the medium with updates. What it has to say is on the
// console (package guest). It powers off when nothing is left to do; with a medium
// whose serial is "look" already when that would take a download or another boot.
//
// It never runs on the build host, and is tested by that test alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/cmdline"
	"kubesolo.io/os/internal/datafs"
	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/test/small/guest"
)

const (
	dataDir   = "/data"
	updateDir = dataDir + "/update"
	mediumDir = "/medium"
	// The kinds of version, in the file /kind of the initramfs.
	unhealthy = "unhealthy"
	panics    = "panics"
)

var errPanic = errors.New("this version panics")

func main() {
	restart, err := run()
	if errors.Is(err, errPanic) {
		drain()
		os.Exit(1) // of PID 1: the kernel panics
	}
	if err != nil {
		guest.Say(err)
	}
	command := unix.LINUX_REBOOT_CMD_POWER_OFF
	if restart {
		command = unix.LINUX_REBOOT_CMD_RESTART
	}
	unix.Sync()
	drain()
	guest.Say(fmt.Errorf("the machine goes on: %w", unix.Reboot(command)))
	select {}
}

// drain waits until the serial console has all that was said: a panic, and the end
// of the machine, throw away what is still in memory. Elsewhere it does nothing.
func drain() { _ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) }

func run() (restart bool, err error) {
	if err := guest.Mount("devtmpfs /dev", "proc /proc", "sysfs /sys", "tmpfs /run", "tmpfs /tmp"); err != nil {
		return false, err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return false, err
	}
	args, _ := cmdline.Parse(string(line))
	if err := guest.LoadModules(); err != nil {
		return false, err
	}
	disk, err := findDisk()
	if err != nil {
		return false, err
	}
	look, err := mountMedium()
	if err != nil {
		return false, err
	}
	image, err := readImage()
	if err != nil {
		return false, err
	}
	running := abslot.ParseSlot(args.Slot)
	device, _ := disk.Slot(running)
	holds, err := versionIn(device)
	if err != nil {
		return false, err
	}
	guest.Say(guest.Started{Slot: running.String(), Trial: args.Trial, Version: image.version, Holds: holds})
	if image.kind == panics {
		return false, errPanic
	}
	res, err := datafs.Prepare(context.Background(), datafs.Options{Spec: args.Data, Target: dataDir, Repair: guest.Repair, Log: func(text string) { fmt.Println(text) }})
	odd := func(note string) bool {
		return !strings.HasSuffix(note, "look at "+dataDir+"/lost+found and at what runs here")
	} // repaired
	if err != nil || res.State != datafs.Mounted || slices.ContainsFunc(res.Notes, odd) {
		return false, fmt.Errorf("data: %+v, %v", res, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dataDir, 0)) }()
	n, err := newNode(disk, running, args.Trial)
	if err != nil {
		return false, err
	}
	return n.live(image, look)
}

// findDisk waits for the driver, which probes in the background.
func findDisk() (*bootenv.Disk, error) {
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		disk, err := bootenv.Find("/sys", "/dev")
		if !errors.Is(err, bootenv.ErrNone) || time.Now().After(deadline) {
			return disk, err
		}
	}
}

// mountMedium mounts the disk with the serial "medium" or "look", and tells
// whether it was the latter.
func mountMedium() (look bool, err error) {
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		serials, err := filepath.Glob("/sys/block/vd*/serial")
		if err != nil {
			return false, err
		}
		for _, file := range serials {
			text, err := os.ReadFile(file)
			serial := strings.TrimSpace(string(text))
			if err != nil || serial != "medium" && serial != "look" {
				continue
			}
			m := mount.Entry{Source: "/dev/" + filepath.Base(filepath.Dir(file)), Target: mediumDir, Type: "squashfs", Flags: unix.MS_RDONLY}
			return serial == "look", m.Apply()
		}
	}
	return false, errors.New("no medium with updates")
}

// image is what the initramfs says of itself.
type image struct {
	version, kind string
	root          []byte // the trusted root.json
}

func readImage() (image, error) {
	version, err1 := os.ReadFile("/version")
	kind, err2 := os.ReadFile("/kind")
	root, err3 := os.ReadFile("/root.json")
	return image{string(version), string(kind), root}, errors.Join(err1, err2, err3)
}
