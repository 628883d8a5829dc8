package blockdev

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"kubesolo.io/os/internal/gpt"
)

// PartTable is what a disk says of its partitions, by their numbers.
type PartTable struct {
	// Type is "gpt", "dos" or "" for none.
	Type string
	Part map[int]PartEntry
}

// PartEntry names a partition. UUID is in lower case, for DOS tables in the
// kernel's form XXXXXXXX-NN.
type PartEntry struct{ Label, UUID string }

// ReadPartTable reads the partition table of a disk. No table is no error; a
// GPT with both copies damaged is.
func ReadPartTable(r io.ReaderAt, size int64, sectorSize int) (PartTable, error) {
	mbr := make([]byte, 512)
	if size < 512 {
		return PartTable{}, nil
	}
	if _, err := r.ReadAt(mbr, 0); err != nil {
		return PartTable{}, fmt.Errorf("partition table: %w", err)
	}
	dos := parseDOS(mbr)
	if table, _, err := gpt.Read(r, size, sectorSize); err == nil {
		out := PartTable{Type: "gpt", Part: map[int]PartEntry{}}
		for _, p := range table.Partitions {
			out.Part[p.Number] = PartEntry{Label: p.Name, UUID: strings.ToLower(p.ID.String())}
		}
		return out, nil
	} else if dos.protective {
		return PartTable{Type: "gpt"}, err
	}
	if len(dos.primary) == 0 {
		return PartTable{}, nil
	}
	out := PartTable{Type: "dos", Part: map[int]PartEntry{}}
	for n := range dos.primary {
		out.Part[n] = PartEntry{UUID: dosUUID(dos.id, n)}
	}
	if dos.extended != 0 {
		for n := range logical(r, int64(dos.extended), size, sectorSize) {
			out.Part[5+n] = PartEntry{UUID: dosUUID(dos.id, 5+n)}
		}
	}
	return out, nil
}

func dosUUID(id uint32, n int) string { return fmt.Sprintf("%08x-%02x", id, n) }

type dosTable struct {
	id         uint32
	protective bool
	primary    map[int]bool
	extended   uint32 // first sector of the extended partition
}

// parseDOS reads the four entries of a master boot record. A FAT boot sector
// has the same signature; its "entries" have flags no table has.
func parseDOS(b []byte) dosTable {
	le := binary.LittleEndian
	t := dosTable{id: le.Uint32(b[440:])}
	if b[510] != 0x55 || b[511] != 0xAA {
		return t
	}
	primary := map[int]bool{}
	for i := range 4 {
		e := b[446+16*i:][:16]
		if e[0] != 0 && e[0] != 0x80 {
			return t
		}
		sectors := le.Uint32(e[12:])
		if e[4] == 0 || sectors == 0 {
			continue
		}
		switch e[4] {
		case 0xEE:
			t.protective = true
		case 0x05, 0x0F, 0x85:
			if t.extended == 0 {
				t.extended = le.Uint32(e[8:])
			}
		}
		primary[i+1] = true
	}
	t.primary = primary
	return t
}

// logical counts the logical partitions: a chain of tables whose second entry
// points at the next, relative to the extended partition.
func logical(r io.ReaderAt, start, size int64, sectorSize int) int {
	const most = 60
	le := binary.LittleEndian
	b := make([]byte, 512)
	n := 0
	for at := start; n < most; {
		if at*int64(sectorSize)+512 > size {
			break
		}
		if _, err := r.ReadAt(b, at*int64(sectorSize)); err != nil || b[510] != 0x55 || b[511] != 0xAA {
			break
		}
		if b[446+4] != 0 {
			n++
		}
		next := int64(le.Uint32(b[462+8:]))
		if b[462+4] == 0 || next == 0 || start+next <= at {
			break
		}
		at = start + next
	}
	return n
}
