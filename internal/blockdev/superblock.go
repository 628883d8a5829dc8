package blockdev

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Superblock is what a device holds. Type is the name mount(8) and blkid(8)
// use: ext4 (also for ext2 and ext3), vfat, squashfs, iso9660, xfs, btrfs,
// ntfs, exfat, f2fs, erofs, swap, crypto_LUKS, LVM2_member, linux_raid_member,
// zfs_member, BitLocker.
type Superblock struct {
	Type  string
	Label string
	UUID  string
	Ext4  *Ext4
}

// Ext4 is what only ext4 has.
type Ext4 struct {
	// Size is the size of the file system in bytes.
	Size int64
	// Clean is false when it was not unmounted; NeedsRecovery says that its
	// journal holds work, which the kernel replays at mount.
	Clean, NeedsRecovery bool
	// HasErrors says that the kernel found the file system inconsistent.
	HasErrors bool
}

// DamagedError is a superblock that is recognisable but not usable.
type DamagedError struct {
	Type   string
	Label  string // as far as it can be read
	Reason string
}

func (e *DamagedError) Error() string { return e.Type + " superblock damaged (" + e.Reason + ")" }

// Probe recognises what is on a device of size bytes. A device that holds
// nothing known gives a zero Superblock and no error; that is not the same as
// an empty device. A recognisable but damaged superblock is a *DamagedError.
func Probe(r io.ReaderAt, size int64) (Superblock, error) {
	p := prober{r: r, size: size}
	for _, try := range []func() (Superblock, bool){
		// Containers first: old file systems may still show inside of them.
		p.luks, p.raid, p.lvm, p.zfs, p.bitlocker,
		p.ext4, p.xfs, p.btrfs, p.squashfs, p.iso9660, p.swap, p.ntfs, p.exfat, p.f2fs, p.erofs, p.other,
		p.vfat,
	} {
		sb, ok := try()
		if p.err != nil {
			return Superblock{}, p.err
		}
		if ok {
			return sb, nil
		}
	}
	return Superblock{}, nil
}

type prober struct {
	r    io.ReaderAt
	size int64
	err  error
}

// at reads n bytes, nil where the device does not have them. Other read errors
// end the probe.
func (p *prober) at(off int64, n int) []byte {
	if off < 0 || off+int64(n) > p.size || p.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := p.r.ReadAt(b, off); err != nil {
		if !errors.Is(err, io.EOF) {
			p.err = err
		}
		return nil
	}
	return b
}

func (p *prober) has(off int64, magic string) bool {
	return string(p.at(off, len(magic))) == magic
}

// text cuts a fixed field at its first NUL and trims padding.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.ToValidUTF8(strings.TrimRight(s, " "), "?")
}

func uuidText(b []byte) string {
	s := hex.EncodeToString(b)
	if len(s) != 32 {
		return s
	}
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// ext4 reads the superblock at 1024 (Documentation/filesystems/ext4/super.rst).
func (p *prober) ext4() (Superblock, bool) {
	b := p.at(1024, 1024)
	le := binary.LittleEndian
	if b == nil || le.Uint16(b[56:]) != 0xEF53 {
		return Superblock{}, false
	}
	label := text(b[120:136])
	logBlock := le.Uint32(b[24:])
	incompat, roCompat := le.Uint32(b[96:]), le.Uint32(b[100:])
	if logBlock > 6 {
		p.err = &DamagedError{"ext4", label, fmt.Sprintf("block size 2^%d KiB", logBlock)}
		return Superblock{}, false
	}
	if roCompat&0x400 != 0 { // metadata_csum: crc32c of all but itself
		if got := ^crc32.Checksum(b[:1020], crc32.MakeTable(crc32.Castagnoli)); got != le.Uint32(b[1020:]) {
			p.err = &DamagedError{"ext4", label, "checksum"}
			return Superblock{}, false
		}
	}
	blocks := uint64(le.Uint32(b[4:]))
	if incompat&0x80 != 0 { // 64bit
		blocks |= uint64(le.Uint32(b[336:])) << 32
	}
	if blocks == 0 || blocks >= 1<<48 {
		p.err = &DamagedError{"ext4", label, fmt.Sprintf("%d blocks", blocks)}
		return Superblock{}, false
	}
	state := le.Uint16(b[58:])
	return Superblock{
		Type: "ext4", Label: label, UUID: uuidText(b[104:120]),
		Ext4: &Ext4{
			Size:  int64(blocks) << (10 + logBlock),
			Clean: state&1 != 0, HasErrors: state&2 != 0,
			NeedsRecovery: incompat&0x4 != 0,
		},
	}, true
}

func (p *prober) squashfs() (Superblock, bool) {
	return Superblock{Type: "squashfs"}, p.has(0, "hsqs")
}

// iso9660: the primary volume descriptor in sector 16 (ECMA-119 §8.4).
func (p *prober) iso9660() (Superblock, bool) {
	b := p.at(16*2048, 2048)
	if b == nil || string(b[1:6]) != "CD001" {
		return Superblock{}, false
	}
	sb := Superblock{Type: "iso9660", Label: text(b[40:72])}
	// blkid's UUID: the creation time, or the modification time when set.
	for _, t := range [][]byte{b[830:846], b[813:829]} {
		if s := string(t); s[0] >= '1' && s[0] <= '9' && strings.Trim(s, "0123456789") == "" {
			sb.UUID = s[:4] + "-" + s[4:6] + "-" + s[6:8] + "-" + s[8:10] + "-" + s[10:12] + "-" + s[12:14] + "-" + s[14:16]
			break
		}
	}
	return sb, true
}

// vfat has no magic of its own: the boot signature, a jump, a plausible
// parameter block and the type string that every mkfs writes.
func (p *prober) vfat() (Superblock, bool) {
	b := p.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xAA {
		return Superblock{}, false
	}
	sector := binary.LittleEndian.Uint16(b[11:])
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || b[13] == 0 || b[13]&(b[13]-1) != 0 || b[16] == 0 {
		return Superblock{}, false
	}
	at := 0
	switch {
	case string(b[82:87]) == "FAT32":
		at = 67
	case string(b[54:59]) == "FAT12", string(b[54:59]) == "FAT16", string(b[54:62]) == "FAT     ":
		at = 39
	default:
		return Superblock{}, false
	}
	id := binary.LittleEndian.Uint32(b[at:])
	label := text(b[at+4 : at+15])
	if label == "NO NAME" {
		label = ""
	}
	return Superblock{Type: "vfat", Label: label, UUID: fmt.Sprintf("%04X-%04X", id>>16, id&0xFFFF)}, true
}
