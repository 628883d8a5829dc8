// Package fatfile finds where the bytes of a file lie on a FAT12, FAT16 or FAT32
// file system, so that they can be read and replaced in place without a mount
// (Microsoft, FAT32 File System Specification, version 1.03).
//
// It reads what it is given, an io.ReaderAt, and never writes. What it reads may
// be damaged or hostile: every value is checked before it is used, the work is
// bounded, and an error names the place. Tested on file systems that mkfs.vfat
// and mtools made, of all three kinds, and fuzzed.
package fatfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Limits of what is followed: 65536 entries is what the specification allows a
// directory; the others are far over any file worth finding.
const (
	maxEntries  = 65536
	maxClusters = 1 << 20
)

// Extent is a run of bytes.
type Extent struct {
	Offset, Length int64
}

// File is where a file lies. The extents are in the order of its bytes, no two of
// them adjoin, and their lengths add up to Size.
type File struct {
	Size    int64
	Extents []Extent
}

// Find looks a file up on the file system that fills the first bytes of r; size is
// what r holds. The path is separated by "/"; names are compared without regard to
// case, the long ones and the short ones. What is not there is an error that
// wraps fs.ErrNotExist.
func Find(r io.ReaderAt, size int64, path string) (File, error) {
	v, err := open(r, size)
	if err != nil {
		return File{}, fmt.Errorf("fat: %w", err)
	}
	f, err := v.find(path)
	if err != nil {
		return File{}, fmt.Errorf("fat: %s: %w", path, err)
	}
	return f, nil
}

// volume is the geometry, in bytes and clusters.
type volume struct {
	r         io.ReaderAt
	sector    int64
	cluster   int64
	fat       int64  // first byte of the table that counts
	root      Extent // of FAT12 and FAT16
	rootFirst uint32 // first cluster, of FAT32
	data      int64  // first byte of cluster 2
	last      uint32 // highest cluster number
	bits      int    // 12, 16 or 32
}

// open reads the boot sector.
func open(r io.ReaderAt, size int64) (*volume, error) {
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, rootEntries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	sectors, tableSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	// A length here is what makes it FAT12 or FAT16, for Linux and GRUB.
	is32 := tableSectors == 0
	if is32 {
		tableSectors = int64(le.Uint32(b[36:]))
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xAA:
		return nil, fmt.Errorf("boot sector: signature % x", b[510:512])
	case sector < 512 || sector > 4096 || sector&(sector-1) != 0:
		return nil, fmt.Errorf("boot sector: sectors of %d bytes", sector)
	case perCluster == 0 || perCluster&(perCluster-1) != 0:
		return nil, fmt.Errorf("boot sector: clusters of %d sectors", perCluster)
	case reserved == 0 || tables == 0 || tableSectors == 0:
		return nil, fmt.Errorf("boot sector: %d reserved sectors, %d tables of %d", reserved, tables, tableSectors)
	case sectors*sector > size:
		return nil, fmt.Errorf("boot sector: %d sectors of %d bytes on %d bytes", sectors, sector, size)
	case is32 && (rootEntries != 0 || le.Uint16(b[42:]) != 0):
		return nil, fmt.Errorf("boot sector: FAT32 with %d root entries, version %#x", rootEntries, le.Uint16(b[42:]))
	}
	v := &volume{r: r, sector: sector, cluster: perCluster * sector, fat: reserved * sector}
	v.root = Extent{(reserved + tables*tableSectors) * sector, (rootEntries*entrySize + sector - 1) / sector * sector}
	v.data = v.root.Offset + v.root.Length
	clusters := (sectors*sector - v.data) / v.cluster
	if clusters < 1 {
		return nil, fmt.Errorf("boot sector: data begin at byte %d of %d", v.data, sectors*sector)
	}
	switch {
	case is32:
		v.bits, v.rootFirst = 32, le.Uint32(b[44:])
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 { // no mirroring: one table counts
			active := int64(flags & 0xF)
			if active >= tables {
				return nil, fmt.Errorf("boot sector: table %d of %d is the active one", active, tables)
			}
			v.fat += active * tableSectors * sector
		}
	case clusters < 4085:
		v.bits = 12
	default:
		v.bits = 16
	}
	// The first two entries of a table are no clusters.
	if room := tableSectors * sector * 8 / int64(v.bits); clusters+2 > room || clusters+1 >= int64(v.badMark()) {
		return nil, fmt.Errorf("boot sector: %d clusters, and tables of %d entries of %d bits", clusters, room, v.bits)
	}
	v.last = uint32(clusters + 1)
	return v, nil
}

// badMark is the entry of an unusable cluster; greater ones end a chain.
func (v *volume) badMark() uint32 {
	return 1<<min(v.bits, 28) - 9 // 28 bits of a FAT32 entry are used
}

// next is the cluster after c; end tells that c is the last one.
func (v *volume) next(c uint32) (n uint32, end bool, err error) {
	at := v.fat + int64(c)*int64(v.bits)/8
	b := make([]byte, 4)
	if _, err := v.r.ReadAt(b[:(v.bits+15)/16*2], at); err != nil {
		return 0, false, fmt.Errorf("table entry %d: %w", c, err)
	}
	n = binary.LittleEndian.Uint32(b)
	switch {
	case v.bits == 32:
		n &= 1<<28 - 1 // the upper four bits are reserved
	case v.bits == 12 && c%2 == 1:
		n >>= 4
	case v.bits == 12:
		n &= 0xFFF
	}
	if n > v.badMark() {
		return 0, true, nil
	}
	if n < 2 || n > v.last {
		return 0, false, fmt.Errorf("table entry %d: the next cluster is %#x, and the last one there is is %#x", c, n, v.last)
	}
	return n, false, nil
}

// first checks a cluster number of a directory entry.
func (v *volume) first(c uint32) error {
	if c < 2 || c > v.last {
		return fmt.Errorf("first cluster %#x, and the last one there is is %#x", c, v.last)
	}
	return nil
}

func (v *volume) place(c uint32) int64 { return v.data + int64(c-2)*v.cluster }

func (v *volume) find(path string) (File, error) {
	at := entry{directory: true, first: v.rootFirst}
	for i, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if !at.directory {
			return File{}, fmt.Errorf("%s: %w: the name before it is no directory", name, fs.ErrNotExist)
		}
		next, err := v.lookUp(at, i == 0, name)
		if err != nil {
			return File{}, err
		}
		at = next
	}
	if at.directory {
		return File{}, errors.New("a directory, not a file")
	}
	return v.extents(at)
}

// extents follows the chain of a file, which must be as long as the file.
func (v *volume) extents(e entry) (File, error) {
	f := File{Size: e.size}
	if e.size == 0 {
		return f, nil
	}
	if err := v.first(e.first); err != nil {
		return File{}, err
	}
	for c, left, n := e.first, e.size, 1; ; n++ {
		if n > maxClusters {
			return File{}, fmt.Errorf("more than %d clusters", maxClusters)
		}
		length := min(left, v.cluster)
		if last := len(f.Extents) - 1; last >= 0 && f.Extents[last].Offset+f.Extents[last].Length == v.place(c) {
			f.Extents[last].Length += length
		} else {
			f.Extents = append(f.Extents, Extent{v.place(c), length})
		}
		left -= length
		next, end, err := v.next(c)
		switch {
		case err != nil:
			return File{}, err
		case end && left == 0:
			return f, nil
		case end != (left == 0):
			return File{}, fmt.Errorf("table entry %d: a chain of %d clusters, and the file has %d bytes", c, n, e.size)
		}
		c = next
	}
}
