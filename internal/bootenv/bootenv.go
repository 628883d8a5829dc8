package bootenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/fatfile"
)

// Read reads both copies.
func (d *Disk) Read() (abslot.Copies, error) {
	var copies abslot.Copies
	err := d.with(os.O_RDONLY, func(e *environment) error {
		copies = e.copies
		return nil
	})
	return copies, err
}

// Change reads the state, asks what it is to be, and writes that to both copies.
// On an error the state on the disk is the old one or, when the last write failed,
// the new one.
func (d *Disk) Change(next func(abslot.State) (abslot.State, error)) (abslot.State, error) {
	var state abslot.State
	err := d.with(os.O_RDWR, func(e *environment) error {
		now, _, err := e.copies.Choose()
		if err != nil {
			return err
		}
		if state, err = next(now); err != nil {
			return err
		}
		writes, err := e.copies.Writes(state)
		if err != nil {
			return err
		}
		return e.write(writes)
	})
	return state, err
}

// Heal makes both copies valid and the same, which they are unless the power
// failed during a write; wrote tells whether that took a write. The arguments are
// those of Copies.Heal. When only the write failed, the state is there with the error.
func (d *Disk) Heal(running abslot.Slot, trial bool) (state abslot.State, wrote bool, err error) {
	copies, err := d.Read()
	if err != nil {
		return state, false, err
	}
	state, writes, err := copies.Heal(running, trial)
	if err != nil || len(writes) == 0 {
		return state, false, err
	}
	err = d.with(os.O_RDWR, func(e *environment) error { return e.write(writes) })
	return state, err == nil, err
}

// environment is the open partition.
type environment struct {
	f      *os.File
	block  []byte // of aligned; escapes with e, and so is never moved
	places [2]int64
	copies abslot.Copies
}

func copyName(i int) string { return fmt.Sprintf("env%d", i+1) }

// with opens the partition, reads both copies, and calls do.
func (d *Disk) with(flags int, do func(*environment) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("slot state on %s: %w", d.parts[0].Path, err)
		}
	}()
	// O_EXCL: refused while anything has it mounted or claimed.
	fsys, err := os.OpenFile(d.parts[0].Path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer fsys.Close()
	e := &environment{}
	if err := e.find(fsys, d.parts[0].Size); err != nil {
		return err
	}
	// Direct: not a sector beside the copies is written, and what is read back comes
	// from the medium. Disks with sectors of 4 KiB, and some file systems of
	// tests, cannot do it.
	direct := unix.O_DIRECT
	if d.parts[0].SectorSize > abslot.SectorSize {
		direct = 0
	}
	if e.f, err = os.OpenFile(d.parts[0].Path, flags|os.O_SYNC|direct, 0); errors.Is(err, unix.EINVAL) {
		e.f, err = os.OpenFile(d.parts[0].Path, flags|os.O_SYNC, 0)
	}
	if err != nil {
		return err
	}
	defer e.f.Close()
	e.block = aligned()
	for i := range e.copies {
		if err := e.read(i); err != nil {
			return err
		}
	}
	return do(e)
}

// find looks for the places of the copies. On a damaged file system a place can
// belong to another file as well: that is refused.
func (e *environment) find(fsys *os.File, size int64) error {
	var taken []fatfile.Extent
	for _, path := range []string{"/boot/grub/grub.cfg", "/EFI/BOOT/BOOTX64.EFI"} {
		f, err := fatfile.Find(fsys, size, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		taken = append(taken, f.Extents...)
	}
	for i := range e.places {
		f, err := fatfile.Find(fsys, size, "/boot/grub/"+copyName(i))
		if err != nil {
			return err
		}
		if f.Size != abslot.Size || len(f.Extents) != 1 || f.Extents[0].Offset%abslot.SectorSize != 0 {
			return fmt.Errorf("%s has %d bytes in %d pieces, want %d in one", copyName(i), f.Size, len(f.Extents), abslot.Size)
		}
		at := f.Extents[0].Offset
		for _, t := range taken {
			if at < t.Offset+t.Length && t.Offset < at+abslot.Size {
				return fmt.Errorf("%s lies where another file of GRUB's is: the file system is damaged", copyName(i))
			}
		}
		taken = append(taken, f.Extents[0])
		e.places[i] = at
	}
	return nil
}

// aligned is memory for a copy that begins at a multiple of a sector.
func aligned() []byte {
	b := make([]byte, abslot.Size+abslot.SectorSize)
	skip := -uintptr(unsafe.Pointer(&b[0])) % abslot.SectorSize
	return b[skip:][:abslot.Size]
}

func (e *environment) read(i int) error {
	if _, err := e.f.ReadAt(e.block, e.places[i]); err != nil {
		return fmt.Errorf("%s: %w", copyName(i), err)
	}
	e.copies[i] = bytes.Clone(e.block)
	return nil
}

func (e *environment) write(writes []abslot.Write) error {
	for _, w := range writes {
		copy(e.block, w.Data)
		if _, err := e.f.WriteAt(e.block, e.places[w.Copy]); err != nil {
			return fmt.Errorf("%s: %w", copyName(w.Copy), err)
		}
		// Where the write was not direct, what is read is not from memory.
		if err := unix.Fadvise(int(e.f.Fd()), e.places[w.Copy], abslot.Size, unix.FADV_DONTNEED); err != nil {
			return fmt.Errorf("%s: %w", copyName(w.Copy), err)
		}
		if err := e.read(w.Copy); err != nil {
			return err
		}
		if !bytes.Equal(e.copies[w.Copy], w.Data) {
			return fmt.Errorf("%s: what was written does not read back: the disk keeps nothing any more", copyName(w.Copy))
		}
	}
	return nil
}
