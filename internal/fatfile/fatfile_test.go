package fatfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/fatfile"
)

// Layout of the small file systems below: boot sector, one table, root directory
// (of FAT12 and FAT16, one sector), and clusters of one sector from 2 on. The
// table of FAT32 is two sectors long and its root is cluster 5.
const sector = 512

var le = binary.LittleEndian

// small makes a file system with the directory "dir" in cluster 2 and "dir/file",
// of 1100 bytes, in the clusters 3, 4 and 6.
func small(bits int) []byte {
	const sectors = 16
	b := make([]byte, sectors*sector)
	le.PutUint16(b[11:], sector)
	b[13], b[16] = 1, 1
	le.PutUint16(b[14:], 1)
	le.PutUint16(b[19:], sectors)
	b[510], b[511] = 0x55, 0xAA
	at := 2 * sector
	if bits == 32 {
		le.PutUint32(b[36:], 2)
		le.PutUint32(b[44:], 5)
		at = place(bits, 5)
	} else {
		le.PutUint16(b[17:], sector/32)
		le.PutUint16(b[22:], 1)
	}
	for cluster, next := range map[int]uint32{2: 0x0FFFFFFF, 3: 4, 4: 6, 5: 0x0FFFFFFF, 6: 0x0FFFFFFF} {
		link(b, bits, cluster, next)
	}
	record(b[at:], "DIR        ", 0x10, 2, 0)
	record(b[place(bits, 2):], "FILE       ", 0x20, 3, 1100)
	return b
}

func place(bits, cluster int) int {
	data := 3 // sectors, of FAT12 and of FAT32
	return (data + cluster - 2) * sector
}

// link writes one entry of the table.
func link(b []byte, bits, cluster int, next uint32) {
	if table := b[sector:]; bits == 32 {
		le.PutUint32(table[4*cluster:], next)
	} else if at := table[cluster*3/2:]; cluster%2 == 0 {
		le.PutUint16(at, le.Uint16(at)&0xF000|uint16(next&0xFFF))
	} else {
		le.PutUint16(at, le.Uint16(at)&0xF|uint16(next<<4))
	}
}

func record(b []byte, name string, attributes byte, cluster uint16, size uint32) {
	copy(b, name)
	b[11] = attributes
	le.PutUint16(b[26:], cluster)
	le.PutUint32(b[28:], size)
}

func find(b []byte, path string) (fatfile.File, error) {
	return fatfile.Find(bytes.NewReader(b), int64(len(b)), path)
}

func TestSmall(t *testing.T) {
	for _, bits := range []int{12, 32} {
		b := small(bits)
		want := []fatfile.Extent{{Offset: int64(place(bits, 3)), Length: 1024}, {Offset: int64(place(bits, 6)), Length: 76}}
		if f, err := find(b, "dir/file"); err != nil || f.Size != 1100 || !slices.Equal(f.Extents, want) {
			t.Errorf("FAT%d: %+v, %v", bits, f, err)
		}
		for path, says := range map[string]string{"dir/none": "none: ", "no/file": "no: ", "dir/file/x": "x: "} {
			if _, err := find(b, path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), says) {
				t.Errorf("FAT%d: %s: %v", bits, path, err)
			}
		}
		if _, err := find(b, "dir"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("FAT%d: a directory is %v", bits, err)
		}
	}
}

// Each kind of damage ends in an error that says where.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		bits       int
		do         func(b []byte)
	}{
		{"no signature", "signature", 12, func(b []byte) { b[510] = 0 }},
		{"sector size", "sectors of 513 bytes", 12, func(b []byte) { b[11] = 1 }},
		{"cluster size", "clusters of 3 sectors", 12, func(b []byte) { b[13] = 3 }},
		{"no table", "0 tables", 12, func(b []byte) { b[16] = 0 }},
		{"too big", "17 sectors of 512 bytes on 8192 bytes", 12, func(b []byte) { b[19] = 17 }},
		{"no data", "data begin", 12, func(b []byte) { b[19] = 3 }},
		{"FAT32 with a root of FAT16", "16 root entries", 12, func(b []byte) { b[22] = 0; b[36] = 1 }},
		{"version", "version 0x1", 32, func(b []byte) { b[42] = 1 }},
		{"no such table", "table 3 of 1", 32, func(b []byte) { b[40] = 0x83 }},
		{"root beyond the end", "first cluster 0xff", 32, func(b []byte) { b[44] = 0xFF }},
		{"directory at 0", "first cluster 0x0", 12, func(b []byte) { record(b[2*sector:], "DIR        ", 0x10, 0, 0) }},
		{"directory in a circle", "more than 65536 entries", 12, func(b []byte) {
			link(b, 12, 2, 7)
			link(b, 12, 7, 2)
			for _, c := range []int{2, 7} {
				for i := range sector / 32 {
					record(b[place(12, c)+32*i:], "OTHER      ", 0x20, 3, 1)
				}
			}
		}},
		{"chain in a circle", "table entry 3: a chain of 3 clusters", 12, func(b []byte) { link(b, 12, 4, 3) }},
		{"chain to a free cluster", "table entry 4: the next cluster is 0x0", 12, func(b []byte) { link(b, 12, 4, 0) }},
		{"chain to a bad cluster", "table entry 4: the next cluster is 0xff7", 12, func(b []byte) { link(b, 12, 4, 0xFF7) }},
		{"chain beyond the end", "table entry 3: the next cluster is 0xabcdef", 32, func(b []byte) { link(b, 32, 3, 0xABCDEF) }},
		{"short chain", "table entry 4: a chain of 2 clusters", 32, func(b []byte) { link(b, 32, 4, 0x0FFFFFFF) }},
		{"long chain", "a chain of 3 clusters, and the file has 1100 bytes", 32, func(b []byte) { link(b, 32, 6, 7) }},
		{"huge size", "table entry 6: a chain of 3 clusters", 32, func(b []byte) { le.PutUint32(b[place(32, 2)+28:], 1<<32-1) }},
	} {
		b := small(c.bits)
		c.do(b)
		if f, err := find(b, "dir/file"); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "fat: ") {
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
	}
	b := small(12)
	le.PutUint16(b[19:], 2000)
	if _, err := fatfile.Find(bytes.NewReader(b), 1<<20, "dir/file"); err == nil || !strings.Contains(err.Error(), "1997 clusters, and tables of 341 entries of 12 bits") {
		t.Errorf("table too small: %v", err)
	}
	if _, err := find([]byte("short"), "dir/file"); err == nil || !strings.Contains(err.Error(), "boot sector") {
		t.Errorf("5 bytes: %v", err)
	}
}

// A long name without its short one, or with another's, is none.
func TestOrphanedLongName(t *testing.T) {
	for sum, want := range map[byte]bool{sumOf("FILE       "): true, sumOf("FILE       ") + 1: false} {
		b := small(12)
		dir := b[place(12, 2):]
		copy(dir[32:], dir[:32])
		clear(dir[:32])
		dir[0], dir[11], dir[13] = 0x41, 0x0F, sum
		for i, at := range []int{1, 3, 5, 7, 9} {
			le.PutUint16(dir[at:], uint16("Name\x00"[i]))
		}
		if f, err := find(b, "dir/nAME"); (err == nil && f.Size == 1100) != want {
			t.Errorf("sum %#x: %v", sum, err)
		}
	}
}

func sumOf(short string) (sum byte) {
	for _, c := range []byte(short) {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

func FuzzFind(f *testing.F) {
	for _, bits := range []int{12, 32} {
		f.Add(small(bits))
	}
	b := small(12)
	b[place(12, 2)+11] = 0x0F
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, path := range []string{"dir/file", "file", "dir/a long name of a file"} {
			found, err := find(b, path)
			if err != nil {
				continue
			}
			sum := int64(0)
			for i, e := range found.Extents {
				if e.Offset < sector || e.Length <= 0 || e.Offset+e.Length > int64(len(b)) {
					t.Errorf("extent %+v of %d bytes", e, len(b))
				}
				for _, other := range found.Extents[:i] {
					if e.Offset < other.Offset+other.Length && other.Offset < e.Offset+e.Length {
						t.Errorf("extents %+v and %+v", e, other)
					}
				}
				sum += e.Length
			}
			if sum != found.Size {
				t.Errorf("%d bytes in extents of %d", found.Size, sum)
			}
		}
	})
}
