package gpt

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

const (
	entrySize   = 128
	headerSize  = 92
	entryCount  = 128
	alignment   = 1 << 20 // bytes: erase blocks of flash media and 4 KiB sectors fit
	maxNameUTF  = 36
	maxEntries  = 1024 // what the reader accepts; the standard writes 128
	maxEntrySz  = 4096
	signature   = "EFI PART"
	revision1_0 = 0x00010000
)

// Partition is one used entry. Number is 1 for the first entry, as in /dev/sda1.
// First and Last are sectors, both part of the partition.
type Partition struct {
	Number      int
	Type, ID    GUID
	First, Last uint64
	Attributes  uint64
	Name        string
}

// Sectors is the length of the partition.
func (p Partition) Sectors() uint64 { return p.Last - p.First + 1 }

// Table is a partition table. Partitions are in order of Number.
type Table struct {
	DiskID      GUID
	SectorSize  int
	DiskSectors uint64
	FirstUsable uint64
	LastUsable  uint64
	// Slots is the number of entries that the table has room for.
	Slots      int
	Partitions []Partition
}

// Spec asks Build for a partition. Size is in bytes; 0, allowed for the last in
// disk order, takes the rest. Number 0 is the next free one.
type Spec struct {
	Number     int
	Type, ID   GUID
	Name       string
	Size       int64
	Attributes uint64
}

// Build lays partitions out in the order given, each aligned to 1 MiB.
func Build(diskID GUID, diskSize int64, sectorSize int, specs []Spec) (*Table, error) {
	t, err := empty(diskID, diskSize, sectorSize)
	if err != nil {
		return nil, err
	}
	align := uint64(alignment / sectorSize)
	next := (t.FirstUsable + align - 1) / align * align
	for i, s := range specs {
		p := Partition{Number: s.Number, Type: s.Type, ID: s.ID, Name: s.Name, Attributes: s.Attributes, First: next}
		if p.Number == 0 {
			p.Number = t.freeNumber()
		}
		if s.Size == 0 {
			if i != len(specs)-1 {
				return nil, fmt.Errorf("partition %s: only the last one can take the rest of the disk", s.Name)
			}
			p.Last = alignedLast(t.LastUsable, align)
		} else {
			p.Last = next + (uint64(s.Size)+uint64(sectorSize)-1)/uint64(sectorSize) - 1
		}
		t.Partitions = append(t.Partitions, p)
		next = (p.Last/align + 1) * align
	}
	slices.SortFunc(t.Partitions, func(a, b Partition) int { return a.Number - b.Number })
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return t, nil
}

// alignedLast is the last sector of the last whole MiB.
func alignedLast(last, align uint64) uint64 {
	if end := (last + 1) / align * align; end > 0 {
		return end - 1
	}
	return last
}

func empty(diskID GUID, diskSize int64, sectorSize int) (*Table, error) {
	if !validSectorSize(sectorSize) {
		return nil, fmt.Errorf("sector size %d: want 512, 1024, 2048 or 4096", sectorSize)
	}
	t := &Table{DiskID: diskID, SectorSize: sectorSize, Slots: entryCount}
	if err := t.setSize(diskSize); err != nil {
		return nil, err
	}
	t.FirstUsable = 2 + t.entrySectors()
	return t, nil
}

func validSectorSize(n int) bool {
	return n == 512 || n == 1024 || n == 2048 || n == 4096
}

// setSize puts the end of the usable area before the backup at the disk's end.
func (t *Table) setSize(diskSize int64) error {
	t.DiskSectors = uint64(max(diskSize, 0)) / uint64(t.SectorSize)
	if least := 2*(t.entrySectors()+1) + 2; t.DiskSectors < least {
		return fmt.Errorf("disk of %d bytes is too small for a partition table", diskSize)
	}
	t.LastUsable = t.DiskSectors - 2 - t.entrySectors()
	return nil
}

func (t *Table) entrySectors() uint64 {
	return (uint64(t.Slots)*entrySize + uint64(t.SectorSize) - 1) / uint64(t.SectorSize)
}

func (t *Table) freeNumber() int {
	for n := 1; ; n++ {
		if !slices.ContainsFunc(t.Partitions, func(p Partition) bool { return p.Number == n }) {
			return n
		}
	}
}

// Validate checks what both the reader and the writer rely on: numbers, order
// of bounds, overlap, names.
func (t *Table) Validate() error {
	var errs []error
	if t.FirstUsable > t.LastUsable || t.LastUsable >= t.DiskSectors {
		errs = append(errs, fmt.Errorf("usable sectors %d to %d do not fit a disk of %d", t.FirstUsable, t.LastUsable, t.DiskSectors))
	}
	for i, p := range t.Partitions {
		switch {
		case p.Number < 1 || p.Number > t.Slots:
			errs = append(errs, fmt.Errorf("partition %d: numbers go from 1 to %d", p.Number, t.Slots))
		case p.Type.IsZero():
			errs = append(errs, fmt.Errorf("partition %d has no type", p.Number))
		case p.First > p.Last || p.First < t.FirstUsable || p.Last > t.LastUsable:
			errs = append(errs, fmt.Errorf("partition %d (%s): sectors %d to %d are outside the usable %d to %d",
				p.Number, p.Name, p.First, p.Last, t.FirstUsable, t.LastUsable))
		case len(utf16.Encode([]rune(p.Name))) > maxNameUTF:
			errs = append(errs, fmt.Errorf("partition %d: name %q is longer than %d", p.Number, p.Name, maxNameUTF))
		}
		for _, q := range t.Partitions[:i] {
			if p.Number == q.Number {
				errs = append(errs, fmt.Errorf("partition %d is there twice", p.Number))
			}
			if p.First <= q.Last && q.First <= p.Last {
				errs = append(errs, fmt.Errorf("partitions %d and %d overlap", q.Number, p.Number))
			}
		}
	}
	return errors.Join(errs...)
}

// Find returns the partition with a number.
func (t *Table) Find(number int) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Number == number {
			return p, true
		}
	}
	return Partition{}, false
}

// Last returns the partition that ends last on the disk.
func (t *Table) Last() (Partition, bool) {
	if len(t.Partitions) == 0 {
		return Partition{}, false
	}
	return slices.MaxFunc(t.Partitions, func(a, b Partition) int {
		return int(min(max(int64(a.Last)-int64(b.Last), -1), 1))
	}), true
}

// Grow fits the table to a disk of diskSize bytes and extends the partition
// that ends last to the end of it, down to a whole MiB. It changes the table in
// memory only and tells whether anything changed; it never shrinks a partition.
func (t *Table) Grow(diskSize int64) (bool, error) {
	grown := *t
	grown.Partitions = slices.Clone(t.Partitions)
	if err := grown.setSize(diskSize); err != nil {
		return false, err
	}
	last, ok := grown.Last()
	if !ok {
		return false, errors.New("the table has no partition to grow")
	}
	if last.Last > grown.LastUsable {
		return false, fmt.Errorf("the disk (%d sectors) is smaller than its partition table says: partition %d ends at sector %d",
			grown.DiskSectors, last.Number, last.Last)
	}
	end := alignedLast(grown.LastUsable, uint64(alignment/t.SectorSize))
	changed := grown.DiskSectors != t.DiskSectors || grown.LastUsable != t.LastUsable
	for i := range grown.Partitions {
		if p := &grown.Partitions[i]; p.Number == last.Number && end > p.Last {
			p.Last = end
			changed = true
		}
	}
	if err := grown.Validate(); err != nil {
		return false, err
	}
	*t = grown
	return changed, nil
}
