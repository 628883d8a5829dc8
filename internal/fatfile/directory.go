package fatfile

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
)

const entrySize = 32

// Attributes of an entry.
const (
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLong      = 0x0F // part of a long name
	attrMask      = 0x3F
)

// entry is a file or directory.
type entry struct {
	directory bool
	first     uint32
	size      int64
}

// lookUp finds a name in a directory.
func (v *volume) lookUp(dir entry, isRoot bool, name string) (entry, error) {
	var long longName
	var found entry
	ok := false
	err := v.each(dir, isRoot, func(b []byte) (stop bool) {
		attributes := b[11] & attrMask
		if b[0] == 0xE5 { // deleted
			long = longName{}
			return false
		}
		if attributes == attrLong {
			long.add(b)
			return false
		}
		// A long name counts only with the short one that it was written for.
		same := strings.EqualFold(shortName(b), name) || strings.EqualFold(long.of(b), name)
		long = longName{}
		if attributes&attrVolume != 0 || !same {
			return false
		}
		found, ok = v.parse(b), true
		return true
	})
	if err != nil {
		return entry{}, fmt.Errorf("directory with %s: %w", name, err)
	}
	if !ok {
		return entry{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return found, nil
}

func (v *volume) parse(b []byte) entry {
	le := binary.LittleEndian
	e := entry{directory: b[11]&attrDirectory != 0, first: uint32(le.Uint16(b[26:])), size: int64(le.Uint32(b[28:]))}
	if v.bits == 32 {
		e.first |= uint32(le.Uint16(b[20:])) << 16
	}
	return e
}

// each calls do with the entries of a directory until it returns true, or the
// directory ends.
func (v *volume) each(dir entry, isRoot bool, do func([]byte) bool) error {
	entries := 0
	run := func(at Extent) (done bool, err error) {
		b := make([]byte, v.sector)
		for end := at.Offset + at.Length; at.Offset < end; at.Offset += v.sector {
			if _, err := v.r.ReadAt(b, at.Offset); err != nil {
				return false, fmt.Errorf("byte %d: %w", at.Offset, err)
			}
			for e := b; len(e) > 0; e = e[entrySize:] {
				if entries++; entries > maxEntries {
					return false, fmt.Errorf("byte %d: more than %d entries", at.Offset, maxEntries)
				}
				if e[0] == 0 || do(e[:entrySize]) {
					return true, nil
				}
			}
		}
		return false, nil
	}
	if isRoot && v.bits != 32 {
		_, err := run(v.root)
		return err
	}
	if err := v.first(dir.first); err != nil {
		return err
	}
	// A chain in a circle ends at maxEntries.
	for c := dir.first; ; {
		done, err := run(Extent{v.place(c), v.cluster})
		if err != nil || done {
			return err
		}
		next, end, err := v.next(c)
		if err != nil || end {
			return err
		}
		c = next
	}
}

// shortName is the name of 8 and 3 letters; what is not ASCII is compared with
// nothing, as its code page is not known.
func shortName(b []byte) string {
	text := func(b []byte) string {
		for _, c := range b {
			if c >= 0x80 {
				return "\ufffd"
			}
		}
		return strings.TrimRight(string(b), " ")
	}
	name, extension := text(b[:8]), text(b[8:11])
	if extension == "" {
		return name
	}
	return name + "." + extension
}

// longName collects the entries before the one that they belong to, the last part
// of the name first.
type longName struct {
	units []uint16 // 13 for each part, of the whole name
	next  int      // number of the part that must come next, 0 after the first part
	sum   byte
}

func (l *longName) add(b []byte) {
	const last, perEntry, maxParts = 0x40, 13, 20
	number := int(b[0] &^ last)
	switch {
	case number < 1 || number > maxParts:
		*l = longName{}
		return
	case b[0]&last != 0:
		*l = longName{units: make([]uint16, number*perEntry), next: number, sum: b[13]}
	case number != l.next || b[13] != l.sum:
		*l = longName{}
		return
	}
	i := (number - 1) * perEntry
	for _, part := range [][]byte{b[1:11], b[14:26], b[28:32]} {
		for ; len(part) > 0; part = part[2:] {
			l.units[i] = binary.LittleEndian.Uint16(part)
			i++
		}
	}
	l.next--
}

// of is the long name of a short entry, "" if it has none.
func (l *longName) of(short []byte) string {
	var sum byte
	for _, c := range short[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if len(l.units) == 0 || l.next != 0 || sum != l.sum {
		return ""
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}
