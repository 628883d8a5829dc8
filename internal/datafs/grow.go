package datafs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/mount"
)

// ioctl numbers of fs/ext4/ext4.h and linux/ext4.h.
const (
	ext4ResizeFS  = 0x40086610 // _IOW('f', 16, __u64): number of blocks
	ext4SetFSUUID = 0x4008662c // _IOW('f', 44, struct fsuuid), Linux 6.0
)

// fsuuid is struct fsuuid of linux/ext4.h with its flexible array.
type fsuuid struct {
	length, flags uint32
	uuid          [16]byte
}

// growPartition extends the partition to the end of its disk when it is the
// last one, named KSOLODATA, in a GPT; and repairs that GPT. It tells whether
// the partition became bigger. What cannot be done is a note: a node works with
// a small partition.
func (p *preparer) growPartition(d blockdev.Device) bool {
	if d.Parent == "" || d.PartLabel != Label {
		return false
	}
	grown, err := growPartition(filepath.Join(p.Dev, d.Parent), d)
	if err != nil {
		p.note("%s: partition not grown: %v", d.Path, err)
	}
	return grown
}

func growPartition(disk string, d blockdev.Device) (bool, error) {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := blockdev.SizeOf(f)
	if err != nil {
		return false, err
	}
	table, damage, err := gpt.Read(f, size, d.SectorSize)
	switch {
	case errors.Is(err, gpt.ErrNone):
		return false, nil // a DOS table: as big as it was made
	case err != nil:
		return false, err
	}
	part, ok := table.Find(d.Number)
	last, _ := table.Last()
	if !ok || part.Name != Label || int64(part.First)*int64(d.SectorSize) != d.Start {
		return false, fmt.Errorf("the partition table of %s changed", disk)
	}
	if last.Number != d.Number {
		return false, nil
	}
	changed, err := table.Grow(size)
	if err != nil {
		return false, err
	}
	if changed || damage.Any() {
		if err := table.Write(f); err != nil {
			return false, err
		}
	}
	part, _ = table.Find(d.Number)
	length := int64(part.Sectors()) * int64(d.SectorSize)
	if length <= d.Size {
		return false, nil
	}
	return true, blockdev.ResizePartition(f, d.Number, d.Start, length)
}

// afterMount gives a new file system its own UUID and grows it to its device.
func (p *preparer) afterMount(d blockdev.Device) {
	dir, err := os.Open(p.Target)
	if err != nil {
		p.note("%v", err)
		return
	}
	defer dir.Close()
	if p.res.Formatted {
		if err := setUUID(dir); err != nil {
			p.note("%s: keeps the template's UUID: %v", d.Path, err)
		}
	}
	grown, err := growFS(dir, d)
	if err != nil {
		p.note("%s: file system not grown: %v", d.Path, err)
	}
	p.res.Grown = p.res.Grown || grown
}

// setUUID is no error where the kernel has no such call (before 6.0).
func setUUID(dir *os.File) error {
	id := fsuuid{length: 16}
	// No wait for entropy at first boot: the UUID is a name, not a secret.
	if _, err := unix.Getrandom(id.uuid[:], unix.GRND_INSECURE); err != nil {
		return fmt.Errorf("random bytes: %w", err)
	}
	id.uuid[6] = id.uuid[6]&0x0F | 0x40 // RFC 9562, version 4
	id.uuid[8] = id.uuid[8]&0x3F | 0x80
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4SetFSUUID, uintptr(unsafe.Pointer(&id)))
	if errno == 0 || errno == unix.ENOTTY || errno == unix.EOPNOTSUPP {
		return nil
	}
	return errno
}

// growFS needs CAP_SYS_RESOURCE. The kernel does the work online; writes go on.
func growFS(dir *os.File, d blockdev.Device) (bool, error) {
	dev, err := os.Open(d.Path)
	if err != nil {
		return false, err
	}
	defer dev.Close()
	size, err := blockdev.SizeOf(dev)
	if err != nil {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return false, err
	}
	// The new size is in the mounted superblock, not in d's.
	blocks := uint64(size / st.Bsize)
	if d.Ext4 == nil || blocks <= uint64(d.Ext4.Size/st.Bsize) {
		return false, nil
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4ResizeFS, uintptr(unsafe.Pointer(&blocks)))
	runtime.KeepAlive(&blocks)
	if errno != 0 {
		return false, errno
	}
	var after unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &after); err != nil {
		return false, err
	}
	return after.Blocks > st.Blocks, nil
}

// memory mounts a tmpfs of at most half of the RAM in place of the disk.
func (p *preparer) memory() (Result, error) {
	err := mount.Entry{
		Source: "data", Target: p.Target, Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV,
		Data: "mode=0755,size=50%",
	}.Apply()
	if err != nil {
		return p.res, err
	}
	p.res.State = Memory
	p.makeDirs()
	return p.res, nil
}

// readOnly runs from memory with the configuration of a disk that cannot be
// written (a card with its switch set, a disk at the end of its life).
func (p *preparer) readOnly(d blockdev.Device) (Result, error) {
	// noload: a journal that needs replay cannot be replayed here.
	if err := p.mountDisk(d.Path, MountFlags|unix.MS_RDONLY, "noload"); err != nil {
		p.note("%s is read-only and cannot be mounted: %v; %s", d.Path, explainMount(err), runsFromMemory)
		return p.memory()
	}
	source, err := os.Open(p.Target) // stays reachable below the tmpfs
	if err != nil {
		p.note("%v", err)
		return p.memory()
	}
	defer source.Close()
	res, err := p.memory()
	if err != nil {
		return res, err
	}
	p.res.State = ReadOnly
	p.note("%s is read-only: the node runs from memory with the configuration found there; changes are lost at power-off", d.Path)
	p.copyConfig(fmt.Sprintf("/proc/self/fd/%d", source.Fd()))
	return p.res, nil
}

func (p *preparer) copyConfig(from string) {
	for _, name := range []string{"etc-kubesolo", "network"} {
		err := os.CopyFS(filepath.Join(p.Target, name), os.DirFS(filepath.Join(from, name)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			p.note("%v", err)
		}
	}
	b, err := os.ReadFile(filepath.Join(from, "cloud-init.yaml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Target, "cloud-init.yaml"), b, 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.note("%v", err)
	}
}
