package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kubesolo.io/os/internal/image/grub"
)

// Offsets in GRUB 2's boot.img and diskboot.img (include/grub/i386/pc/boot.h and
// grub-core/boot/i386/pc/diskboot.S, the same since 2.00).
const (
	kernelSector = 0x5c  // boot.img: where core.img is, in sectors, 8 bytes
	driveCheck   = 0x66  // boot.img: a jump that distrusts the BIOS's drive number
	bootCodeEnd  = 0x1b8 // the disk signature and the partition table follow
	blockList    = 0x1f4 // diskboot.img: first block list entry: start (8), length (2), segment (2)
	coreSegment  = 0x820 // where the second and further sectors of core.img are loaded
	sectorSize   = 512
	maxCoreBytes = 0x7fff * sectorSize
)

var errBootImage = errors.New("not the boot image this build knows: another GRUB 2 layout")

// installBIOS does what grub-bios-setup does for a GPT disk with a BIOS boot partition,
// without a loop device: it writes boot.img's code into the first sector and tells it and
// the core image, already at sector first, where the core image is.
func installBIOS(disk interface {
	io.ReaderAt
	io.WriterAt
}, first uint64, coreFile string) error {
	boot, err := os.ReadFile(filepath.Join(grub.Dir(grub.BIOS), "boot.img"))
	if err != nil {
		return err
	}
	core, err := os.ReadFile(coreFile)
	if err != nil {
		return err
	}
	var mbr [sectorSize]byte
	if _, err := disk.ReadAt(mbr[:], 0); err != nil {
		return err
	}
	sector, head, err := bootSectors(mbr[:], boot, core, first)
	if err != nil {
		return fmt.Errorf("grub for BIOS: %w", err)
	}
	if _, err := disk.WriteAt(head, int64(first)*sectorSize); err != nil {
		return err
	}
	_, err = disk.WriteAt(sector, 0)
	return err
}

// bootSectors returns the disk's first sector and the core image's first sector. The
// partition table of mbr is kept.
func bootSectors(mbr, boot, core []byte, first uint64) (sector, head []byte, err error) {
	switch {
	case len(boot) != sectorSize || boot[510] != 0x55 || boot[511] != 0xaa:
		return nil, nil, fmt.Errorf("boot.img: %w", errBootImage)
	case len(core) <= sectorSize || len(core) > maxCoreBytes:
		return nil, nil, fmt.Errorf("core image of %d bytes: %w", len(core), errBootImage)
	case binary.LittleEndian.Uint16(core[blockList+10:]) != coreSegment:
		return nil, nil, fmt.Errorf("core image: %w", errBootImage)
	}
	sector = bytes.Clone(mbr)
	copy(sector[:bootCodeEnd], boot[:bootCodeEnd])
	binary.LittleEndian.PutUint64(sector[kernelSector:], first)
	// grub-bios-setup does the same for hard disks: two no-operations instead of the jump.
	sector[driveCheck], sector[driveCheck+1] = 0x90, 0x90
	sector[510], sector[511] = 0x55, 0xaa

	head = bytes.Clone(core[:sectorSize])
	sectors := (len(core) + sectorSize - 1) / sectorSize
	binary.LittleEndian.PutUint64(head[blockList:], first+1)
	binary.LittleEndian.PutUint16(head[blockList+8:], uint16(sectors-1))
	return sector, head, nil
}
