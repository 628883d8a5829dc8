package datafs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
)

// repair runs the caller's file system check on a device that is not mounted,
// and says how it went. Without a check it only says that one is wanted.
func (p *preparer) repair(ctx context.Context, d blockdev.Device, why string) (done bool) {
	if p.Repair == nil {
		return false
	}
	p.Log("data: " + d.Path + ": " + why + "; checking it, which may take minutes")
	outcome, err := p.Repair(ctx, d.Path)
	if err != nil {
		p.note("%s: %s, and it could not be repaired: %v", d.Path, why, err)
		return false
	}
	p.note("%s: %s; %s; look at %s/lost+found and at what runs here", d.Path, why, outcome, p.Target)
	return true
}

// mountRepaired mounts the device, after a check when the kernel found errors
// in it earlier. What the kernel refuses is left as it is: there a check without
// a person begins by taking things away (of a disk with noise for its group
// descriptors it removed the journal, and then gave up). But for one thing, which
// a power cut does: a commit of the journal of which the disk has written some
// sectors only has a wrong checksum, and the kernel then refuses all of it.
func (p *preparer) mountRepaired(ctx context.Context, d blockdev.Device) error {
	if d.Ext4 != nil && d.Ext4.HasErrors && !p.res.Formatted {
		p.repair(ctx, d, "the kernel found errors in this ext4 earlier")
	}
	err := p.mountDisk(d.Path, MountFlags, MountOptions)
	if errors.Is(err, unix.EUCLEAN) && p.mountsWithoutJournal(d) && p.repair(ctx, d, "its journal ends in a torn write") {
		err = p.mountDisk(d.Path, MountFlags, MountOptions)
	}
	return err
}

// mountsWithoutJournal tells whether it is for its journal only that the kernel
// refuses a file system (ext4(5), noload). Nothing is written.
func (p *preparer) mountsWithoutJournal(d blockdev.Device) bool {
	return p.mountDisk(d.Path, MountFlags|unix.MS_RDONLY, "noload") == nil && unix.Unmount(p.Target, 0) == nil
}
