package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is in on-disk order: the first three groups are little-endian.
type GUID [16]byte

// Partition types (UEFI 2.10 table 5.7; Linux filesystem data; GRUB's BIOS boot).
const (
	TypeEFI      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeLinux    = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
	TypeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
)

// Partition names of the system disk (docs: the disk).
const (
	NameEFI      = "KSOLOEFI"
	NameSlotA    = "KSOLOA"
	NameSlotB    = "KSOLOB"
	NameData     = "KSOLODATA"
	NameBIOSBoot = "KSOLOBIOS"
)

// ParseGUID reads the usual text form in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != 16 || len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("guid %q: want XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX", s)
	}
	copy(g[:], raw)
	g.swap()
	return g, nil
}

// MustGUID is ParseGUID for constants; it panics on a bad one.
func MustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

func (g *GUID) swap() {
	binary.BigEndian.PutUint32(g[0:], binary.LittleEndian.Uint32(g[0:]))
	binary.BigEndian.PutUint16(g[4:], binary.LittleEndian.Uint16(g[4:]))
	binary.BigEndian.PutUint16(g[6:], binary.LittleEndian.Uint16(g[6:]))
}

// String is the text form in upper case.
func (g GUID) String() string {
	g.swap()
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16]))
}

// IsZero marks an unused entry.
func (g GUID) IsZero() bool { return g == GUID{} }
