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

// mountRepaired mounts the device; a file system that the kernel refuses as
// damaged is repaired and gets one more try.
func (p *preparer) mountRepaired(ctx context.Context, d blockdev.Device) error {
	if d.Ext4 != nil && d.Ext4.HasErrors && !p.res.Formatted {
		p.repair(ctx, d, "the kernel found errors in this ext4 earlier")
	}
	err := p.mountDisk(d.Path, MountFlags, MountOptions)
	if damaged(err) && p.repair(ctx, d, "the kernel refuses this ext4 as damaged") {
		err = p.mountDisk(d.Path, MountFlags, MountOptions)
	}
	return err
}

// damaged knows what ext4 says of bad structures and of bad checksums. EINVAL is
// also its answer to features of a newer kernel, which are not to be repaired.
func damaged(err error) bool {
	return errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG)
}
