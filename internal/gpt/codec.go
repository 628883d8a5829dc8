package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// ErrNone is returned (wrapped) when neither copy of a table is on the disk at
// all; a table that is there and damaged is another error.
var ErrNone = errors.New("no GUID partition table")

// Damage tells which copies were not usable; nil, nil is a healthy table.
type Damage struct{ Primary, Backup error }

// Any tells whether Write would repair something.
func (d Damage) Any() bool { return d.Primary != nil || d.Backup != nil }

// header is the part of a GPT header that differs between the copies.
type header struct {
	self, other  uint64
	entries      uint64
	table        Table
	entrySize    uint32
	entriesCRC32 uint32
}

// Read parses the table of a disk of size bytes. A table with one valid copy is
// returned together with what is wrong with the other; Write repairs it.
func Read(r io.ReaderAt, size int64, sectorSize int) (*Table, Damage, error) {
	var d Damage
	if !validSectorSize(sectorSize) {
		return nil, d, fmt.Errorf("sector size %d: want 512, 1024, 2048 or 4096", sectorSize)
	}
	sectors := uint64(max(size, 0)) / uint64(sectorSize)
	if sectors < 3 {
		return nil, d, fmt.Errorf("disk of %d bytes: %w", size, ErrNone)
	}
	primary, err := readCopy(r, 1, sectors, sectorSize)
	d.Primary = err
	at := sectors - 1
	if primary != nil {
		// On a disk that was enlarged the backup is where the primary says.
		at = primary.other
	}
	backup, err := readCopy(r, at, sectors, sectorSize)
	d.Backup = err
	switch {
	case primary != nil:
		if backup != nil && backup.entriesCRC32 != primary.entriesCRC32 {
			d.Backup = errors.New("the backup lists other partitions")
		}
		return &primary.table, d, nil
	case backup != nil:
		return &backup.table, d, nil
	case errors.Is(d.Primary, ErrNone) && errors.Is(d.Backup, ErrNone):
		return nil, d, ErrNone
	}
	return nil, d, fmt.Errorf("both copies of the partition table are damaged: %w", errors.Join(d.Primary, d.Backup))
}

func readCopy(r io.ReaderAt, lba, sectors uint64, sectorSize int) (*header, error) {
	if lba >= sectors {
		return nil, fmt.Errorf("table at sector %d is beyond the disk", lba)
	}
	raw := make([]byte, sectorSize)
	if _, err := r.ReadAt(raw, int64(lba)*int64(sectorSize)); err != nil {
		return nil, fmt.Errorf("table at sector %d: %w", lba, err)
	}
	h, err := parseHeader(raw, lba, sectors)
	if err != nil {
		return nil, fmt.Errorf("table at sector %d: %w", lba, err)
	}
	list := make([]byte, int(h.entrySize)*h.table.Slots)
	if _, err := r.ReadAt(list, int64(h.entries)*int64(sectorSize)); err != nil {
		return nil, fmt.Errorf("entries at sector %d: %w", h.entries, err)
	}
	if got := crc32.ChecksumIEEE(list); got != h.entriesCRC32 {
		return nil, fmt.Errorf("entries at sector %d: checksum %08x, want %08x", h.entries, got, h.entriesCRC32)
	}
	h.table.Partitions = parseEntries(list, int(h.entrySize))
	if err := h.table.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}

func parseHeader(raw []byte, lba, sectors uint64) (*header, error) {
	le := binary.LittleEndian
	if string(raw[:8]) != signature {
		return nil, ErrNone
	}
	n := le.Uint32(raw[12:])
	if n < headerSize || int(n) > len(raw) {
		return nil, fmt.Errorf("header of %d bytes", n)
	}
	sum := bytes.Clone(raw[:n])
	clear(sum[16:20])
	if got, want := crc32.ChecksumIEEE(sum), le.Uint32(raw[16:]); got != want {
		return nil, fmt.Errorf("header checksum %08x, want %08x", got, want)
	}
	h := &header{
		self: le.Uint64(raw[24:]), other: le.Uint64(raw[32:]), entries: le.Uint64(raw[72:]),
		entrySize: le.Uint32(raw[84:]), entriesCRC32: le.Uint32(raw[88:]),
	}
	slots := le.Uint32(raw[80:])
	t := &h.table
	t.SectorSize = len(raw)
	t.FirstUsable, t.LastUsable = le.Uint64(raw[40:]), le.Uint64(raw[48:])
	copy(t.DiskID[:], raw[56:72])
	switch {
	case h.self != lba:
		return nil, fmt.Errorf("header says it is at sector %d", h.self)
	case h.entrySize < entrySize || h.entrySize > maxEntrySz || h.entrySize%8 != 0:
		return nil, fmt.Errorf("entries of %d bytes", h.entrySize)
	case slots == 0 || slots > maxEntries:
		return nil, fmt.Errorf("%d entries", slots)
	case h.entries >= sectors:
		return nil, fmt.Errorf("entries at sector %d are beyond the disk", h.entries)
	case h.other >= 1<<62/uint64(len(raw)):
		return nil, fmt.Errorf("other copy at sector %d", h.other)
	}
	t.Slots = int(slots)
	// The size the table was made for: its last copy is in the last sector.
	t.DiskSectors = max(h.self, h.other) + 1
	return h, nil
}

func parseEntries(list []byte, size int) []Partition {
	le := binary.LittleEndian
	var out []Partition
	for i := 0; i+size <= len(list); i += size {
		e := list[i : i+size]
		p := Partition{Number: i/size + 1, First: le.Uint64(e[32:]), Last: le.Uint64(e[40:]), Attributes: le.Uint64(e[48:])}
		copy(p.Type[:], e)
		copy(p.ID[:], e[16:])
		if p.Type.IsZero() {
			continue
		}
		var name []uint16
		for j := 56; j < 128; j += 2 {
			c := le.Uint16(e[j:])
			if c == 0 {
				break
			}
			name = append(name, c)
		}
		p.Name = string(utf16.Decode(name))
		out = append(out, p)
	}
	return out
}

// syncer is what a file or block device has and a byte buffer has not.
type syncer interface{ Sync() error }

// Write stores the table: first the backup at the end of the disk, then the
// primary, each as entries before header, with a Sync between when w has one.
// A cut at any point leaves the old primary or the new backup valid. The
// protective MBR comes last; boot code in its first 440 bytes is kept when w
// can be read.
func (t *Table) Write(w io.WriterAt) error {
	if err := t.Validate(); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	if t.FirstUsable < 2+t.entrySectors() || t.LastUsable > t.DiskSectors-2-t.entrySectors() {
		return errors.New("write partition table: no room for the entries outside the usable area")
	}
	list := t.encodeEntries()
	last := t.DiskSectors - 1
	backupEntries := last - t.entrySectors()
	steps := []struct {
		what string
		lba  uint64
		data []byte
	}{
		{"backup entries", backupEntries, list},
		{"backup header", last, t.encodeHeader(last, 1, backupEntries, list)},
		{"primary entries", 2, list},
		{"primary header", 1, t.encodeHeader(1, last, 2, list)},
		{"protective MBR", 0, t.protectiveMBR(w)},
	}
	for _, s := range steps {
		if _, err := w.WriteAt(s.data, int64(s.lba)*int64(t.SectorSize)); err != nil {
			return fmt.Errorf("write %s: %w", s.what, err)
		}
		if f, ok := w.(syncer); ok {
			if err := f.Sync(); err != nil {
				return fmt.Errorf("sync %s: %w", s.what, err)
			}
		}
	}
	return nil
}

func (t *Table) encodeHeader(self, other, entries uint64, list []byte) []byte {
	le := binary.LittleEndian
	raw := make([]byte, t.SectorSize)
	copy(raw, signature)
	le.PutUint32(raw[8:], revision1_0)
	le.PutUint32(raw[12:], headerSize)
	le.PutUint64(raw[24:], self)
	le.PutUint64(raw[32:], other)
	le.PutUint64(raw[40:], t.FirstUsable)
	le.PutUint64(raw[48:], t.LastUsable)
	copy(raw[56:], t.DiskID[:])
	le.PutUint64(raw[72:], entries)
	le.PutUint32(raw[80:], uint32(t.Slots))
	le.PutUint32(raw[84:], entrySize)
	le.PutUint32(raw[88:], crc32.ChecksumIEEE(list[:t.Slots*entrySize]))
	le.PutUint32(raw[16:], crc32.ChecksumIEEE(raw[:headerSize]))
	return raw
}

func (t *Table) encodeEntries() []byte {
	le := binary.LittleEndian
	list := make([]byte, int(t.entrySectors())*t.SectorSize)
	for _, p := range t.Partitions {
		e := list[(p.Number-1)*entrySize:][:entrySize]
		copy(e, p.Type[:])
		copy(e[16:], p.ID[:])
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		le.PutUint64(e[48:], p.Attributes)
		for i, c := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*i:], c)
		}
	}
	return list
}

// protectiveMBR claims the whole disk for type 0xEE (UEFI 2.10 §5.2.3).
func (t *Table) protectiveMBR(w io.WriterAt) []byte {
	mbr := make([]byte, t.SectorSize)
	if r, ok := w.(io.ReaderAt); ok {
		if _, err := r.ReadAt(mbr, 0); err != nil {
			clear(mbr)
		}
	}
	clear(mbr[446:510])
	e := mbr[446:]
	copy(e[1:], []byte{0x00, 0x02, 0x00}) // CHS of sector 1
	e[4] = 0xEE
	copy(e[5:], []byte{0xFF, 0xFF, 0xFF})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(t.DiskSectors-1, 0xFFFFFFFF)))
	mbr[510], mbr[511] = 0x55, 0xAA
	return mbr
}
