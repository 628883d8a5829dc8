// Command slotinit is PID 1 of the slots that TestGRUB boots: it says with which
// kernel arguments GRUB started it and what is in the two environment blocks,
// heals them as a node does, and powers off.
//
// What it has to say is on the console, each line after "slot: ".
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/bootenv"
	"kubesolo.io/os/internal/cmdline"
	"kubesolo.io/os/test/small/guest"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("slot: error", err)
	}
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	select {}
}

func run() error {
	if err := guest.Mount("devtmpfs /dev", "proc /proc", "sysfs /sys"); err != nil {
		return err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	args, warnings := cmdline.Parse(string(line))
	fmt.Printf("slot: %s trial=%v warnings=%q\n", args.Slot, args.Trial, warnings)
	if err := guest.LoadModules(); err != nil {
		return err
	}
	disk, err := findDisk()
	if err != nil {
		return err
	}
	copies, err := disk.Read()
	if err != nil {
		return err
	}
	for i, b := range copies {
		fmt.Printf("slot: env%d %x\n", i+1, b)
	}
	state, wrote, err := disk.Heal(abslot.ParseSlot(args.Slot), args.Trial)
	fmt.Printf("slot: %v, %v, healed=%v, %v\n", state, state.Outcome(abslot.ParseSlot(args.Slot), args.Trial), wrote, err)
	return nil
}

// findDisk waits for the driver, which probes in the background.
func findDisk() (*bootenv.Disk, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		disk, err := bootenv.Find("/sys", "/dev")
		if !errors.Is(err, bootenv.ErrNone) || time.Now().After(deadline) {
			return disk, err
		}
	}
}
