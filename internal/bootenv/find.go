// Package bootenv brings the slot state (abslot) to the disk and back: it finds
// the disk with the slots, and on its first partition, which is never mounted, the
// places of the files /boot/grub/env1 and env2 (fatfile).
//
// It writes these two places of 1024 bytes and nothing else, first the copy that
// does not count, each write synced and read back from the medium. A place is
// written only when the file system says that it is all of that file, in one
// piece. Tested with file systems of mkfs.vfat in files; test/small boots the real
// GRUB with what it writes to a real disk.
package bootenv

import (
	"errors"
	"fmt"
	"strings"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/gpt"
)

// ErrNone is returned (wrapped) when no disk has slots: the node was started from
// the ISO, or from a network.
var ErrNone = errors.New("no disk with the slots " + gpt.NameSlotA + " and " + gpt.NameSlotB)

// Disk is the disk with the slots.
type Disk struct {
	// Name is that of the device, as "sda".
	Name string
	// parts are the partitions 1 to 3: GRUB's own, slot A, slot B.
	parts [3]*blockdev.Device
}

// Find looks for the disk; sysfs and dev are "/sys" and "/dev". Two disks with
// slots are an error that names both: nobody could say which of them is running.
func Find(sysfs, dev string) (*Disk, error) {
	devs, err := blockdev.Scan(sysfs, dev)
	if err != nil {
		return nil, err
	}
	var found *Disk
	var names []string
	for i := range devs {
		if d := slots(devs, devs[i].Name); d != nil && devs[i].TableType == "gpt" {
			found = d
			names = append(names, d.Name)
		}
	}
	switch {
	case found == nil:
		return nil, fmt.Errorf("%w; seen: %s", ErrNone, blockdev.Seen(devs))
	case len(names) > 1:
		return nil, fmt.Errorf("%d disks have slots (%s): take all but one out", len(names), strings.Join(names, ", "))
	}
	return found, nil
}

// slots are the partitions of a disk, if they have the names and the numbers by
// which GRUB's menu knows them.
func slots(devs []blockdev.Device, disk string) *Disk {
	out := &Disk{Name: disk}
	for i := range devs {
		if d := &devs[i]; d.Parent == disk && d.Number >= 1 && d.Number <= len(out.parts) {
			out.parts[d.Number-1] = d
		}
	}
	for i, name := range [...]string{gpt.NameEFI, gpt.NameSlotA, gpt.NameSlotB} {
		if out.parts[i] == nil || out.parts[i].PartLabel != name {
			return nil
		}
	}
	return out
}

// Slot is the device of a slot's partition, and what it holds in bytes; nothing
// for None.
func (d *Disk) Slot(s abslot.Slot) (path string, size int64) {
	switch s {
	case abslot.A:
		return d.parts[1].Path, d.parts[1].Size
	case abslot.B:
		return d.parts[2].Path, d.parts[2].Size
	}
	return "", 0
}
