package datafs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
)

// The data file system has two reserves. Its reserved blocks (2 %, see the
// template) are for processes with CAP_SYS_RESOURCE alone, which those of the
// system have and a container by default does not, root or not (MountOptions):
// a pod that fills the disk leaves them. The file ReserveName is for the case
// that they are gone too, by pulled images or a privileged pod: a boot that
// finds nothing free removes it, so that the database can be opened and pods
// and images can be deleted. What it frees is at first within the reserved
// blocks, so pods cannot take it.
const (
	ReserveName = ".reserve"
	reserveMost = 64 << 20
)

// reserveSize is a 64th of the file system; 0 where that is too little to help.
func reserveSize(total uint64) uint64 {
	size := min(total/64, reserveMost) &^ (1<<20 - 1)
	if size < 1<<20 {
		return 0
	}
	return size
}

// usable leaves out what ext4 keeps for its own bookkeeping and gives to nobody:
// 2 %, at most 4096 blocks (ext4_calculate_resv in fs/ext4/super.c).
func usable(u mount.Usage) uint64 {
	return u.Free - min(u.Free, u.Total/50, 4096*blockSize)
}

type reserveAction int

const (
	reserveKeep reserveAction = iota
	reserveRelease
	reserveMake
)

// reserveDecision: release it when less than half of it is free beside it, make
// it when four times its size is, so that a node at the border does not do one
// and the other in turn.
func reserveDecision(u mount.Usage, have uint64) reserveAction {
	want, free := reserveSize(u.Total), usable(u)
	switch {
	case have > 0 && free < want/2:
		return reserveRelease
	case have < want && free+have >= 4*want:
		return reserveMake
	}
	return reserveKeep
}

// reserve sees to the reserve file and says when the disk is nearly full.
func (p *preparer) reserve() {
	usage, err := mount.UsageOf(p.Target)
	if err != nil {
		p.note("%v", err)
		return
	}
	name := filepath.Join(p.Target, ReserveName)
	var have uint64
	if info, err := os.Lstat(name); err == nil {
		have = uint64(info.Size())
	}
	const way = "delete pods, volumes or images"
	switch reserveDecision(usage, have) {
	case reserveRelease:
		if err := os.Remove(name); err != nil {
			p.note("full, and its reserve cannot be released: %v", err)
			return
		}
		p.note("full: %d of %d MB are free; the reserve of %d MB was released so that the node starts; %s",
			usable(usage)>>20, usage.Total>>20, have>>20, way)
		return
	case reserveMake:
		if err := makeReserve(name, int64(reserveSize(usage.Total))); err != nil {
			p.note("no reserve for a full disk: %v", err)
		}
	}
	if usage.Available < usage.Total/20 {
		p.note("nearly full: %d of %d MB are free for pods; %s", usage.Available>>20, usage.Total>>20, way)
	}
}

// makeReserve takes blocks without writing them; a part of it is no use.
func makeReserve(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
	if err == nil {
		return nil
	}
	if removed := os.Remove(name); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		return errors.Join(err, removed)
	}
	return err
}
