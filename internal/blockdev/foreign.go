package blockdev

import (
	"encoding/binary"
	"fmt"
)

// This file recognises what the node never uses as its data, in order to leave
// it alone.

func (p *prober) xfs() (Superblock, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[:4]) != "XFSB" {
		return Superblock{}, false
	}
	return Superblock{Type: "xfs", Label: text(b[108:120]), UUID: uuidText(b[32:48])}, true
}

func (p *prober) btrfs() (Superblock, bool) {
	b := p.at(0x10000, 0x400)
	if b == nil || string(b[0x40:0x48]) != "_BHRfS_M" {
		return Superblock{}, false
	}
	return Superblock{Type: "btrfs", Label: text(b[0x12b:0x22b]), UUID: uuidText(b[0x20:0x30])}, true
}

// swap has its magic at the end of its first page, and pages differ.
func (p *prober) swap() (Superblock, bool) {
	for _, page := range []int64{4096, 8192, 16384, 65536} {
		if p.has(page-10, "SWAPSPACE2") || p.has(page-10, "SWAP-SPACE") {
			sb := Superblock{Type: "swap"}
			if b := p.at(1024, 44); b != nil {
				sb.UUID, sb.Label = uuidText(b[12:28]), text(b[28:44])
			}
			return sb, true
		}
	}
	return Superblock{}, false
}

func (p *prober) luks() (Superblock, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return Superblock{}, false
	}
	sb := Superblock{Type: "crypto_LUKS", UUID: text(b[168:208])}
	if b[7] == 2 {
		sb.Label = text(b[24:72])
	}
	return sb, true
}

// lvm: the label is in one of the first four sectors.
func (p *prober) lvm() (Superblock, bool) {
	for off := int64(0); off < 4*512; off += 512 {
		if b := p.at(off, 64); b != nil && string(b[:8]) == "LABELONE" && string(b[24:32]) == "LVM2 001" {
			return Superblock{Type: "LVM2_member", UUID: text(b[32:64])}, true
		}
	}
	return Superblock{}, false
}

// raid: md's superblock 1.1 and 1.2 are at the start, 1.0 and 0.90 at the end.
func (p *prober) raid() (Superblock, bool) {
	const magic = "\xfc\x4e\x2b\xa9"
	end := p.size &^ 511
	for _, off := range []int64{0, 4096, (end - 8192) &^ 4095} {
		if b := p.at(off, 64); b != nil && string(b[:4]) == magic && binary.LittleEndian.Uint32(b[4:]) == 1 {
			return Superblock{Type: "linux_raid_member", UUID: uuidText(b[16:32]), Label: text(b[32:64])}, true
		}
	}
	if b := p.at(p.size&^65535-65536, 8); b != nil && string(b[:4]) == magic {
		return Superblock{Type: "linux_raid_member"}, true
	}
	return Superblock{}, false
}

// zfs: the uberblocks of the first two labels, in either byte order.
func (p *prober) zfs() (Superblock, bool) {
	const magic = 0x00bab10c
	for _, label := range []int64{0, 256 << 10} {
		for off := label + 128<<10; off < label+256<<10; off += 8 << 10 {
			b := p.at(off, 8)
			if b != nil && (binary.LittleEndian.Uint64(b) == magic || binary.BigEndian.Uint64(b) == magic) {
				return Superblock{Type: "zfs_member"}, true
			}
		}
	}
	return Superblock{}, false
}

func (p *prober) bitlocker() (Superblock, bool) {
	return Superblock{Type: "BitLocker"}, p.has(3, "-FVE-FS-")
}

func (p *prober) ntfs() (Superblock, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[3:11]) != "NTFS    " {
		return Superblock{}, false
	}
	return Superblock{Type: "ntfs", UUID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(b[72:]))}, true
}

func (p *prober) exfat() (Superblock, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[3:11]) != "EXFAT   " {
		return Superblock{}, false
	}
	id := binary.LittleEndian.Uint32(b[100:])
	return Superblock{Type: "exfat", UUID: fmt.Sprintf("%04X-%04X", id>>16, id&0xFFFF)}, true
}

func (p *prober) f2fs() (Superblock, bool) {
	b := p.at(1024, 124)
	if b == nil || binary.LittleEndian.Uint32(b) != 0xF2F52010 {
		return Superblock{}, false
	}
	return Superblock{Type: "f2fs", UUID: uuidText(b[108:124])}, true
}

func (p *prober) erofs() (Superblock, bool) {
	b := p.at(1024, 80)
	if b == nil || binary.LittleEndian.Uint32(b) != 0xE0F5E1E2 {
		return Superblock{}, false
	}
	return Superblock{Type: "erofs", UUID: uuidText(b[48:64]), Label: text(b[64:80])}, true
}

// other are magics without details.
func (p *prober) other() (Superblock, bool) {
	for _, m := range []struct {
		off         int64
		magic, kind string
	}{
		{65536 + 52, "ReIsEr", "reiserfs"},
		{32768, "JFS1", "jfs"},
		{24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"},
		{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"},
		{0, "VMFS", "VMFS"}, {1 << 20, "\x0d\xd0\x01\xc0", "VMFS_volume_member"},
		{0, "bluestore block device", "ceph_bluestore"},
		{1024, "BD", "hfs"}, {1024, "H+", "hfsplus"}, {1024, "HX", "hfsplus"},
		{32, "NXSB", "apfs"}, {0, "\x45\x3d\xcd\x28", "cramfs"},
		{0x1034, "\x68\x19\x01\x22", "qnx6"}, {1372 + 8192, "\x19\x01\x54\x19", "ufs"},
		{1372 + 65536, "\x19\x01\x54\x19", "ufs"}, {0, "DRBD", "drbd"},
		{512, "\x45\x46\x49\x20PART", "gpt"},
	} {
		if p.has(m.off, m.magic) {
			return Superblock{Type: m.kind}, true
		}
	}
	return Superblock{}, false
}
