// Package disk writes the disk image of design §4: a sparse file with a GPT, GRUB for
// BIOS and UEFI, two filled slots and the data partition.
//
// It owns the order and sizes of the partitions (data last, so that the node can grow it)
// and the placing of GRUB's boot code. The GPT itself is internal/gpt's. Tested with real
// tools that read the result: sgdisk, fsck.fat, unsquashfs, e2fsck.
package disk

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/image/fat"
	"kubesolo.io/os/internal/image/grub"
	"kubesolo.io/os/internal/image/tool"
)

// SlotSize is what a slot holds, in bytes.
const SlotSize = 512 * mib

const (
	mib       = 1 << 20
	efiSize   = 256 * mib
	biosSize  = mib
	tableSize = mib // before the first partition, and again for the backup after the last
)

// Identifiers are fixed: a disk image is copied to many machines as it is, and the same
// inputs must give the same bytes. The node makes its own file system UUID at first boot.
const (
	diskID = "4B534F4C-4F53-4449-534B-000000000000"
	biosID = "4B534F4C-4F53-4449-534B-000000000005"
	efiID  = "4B534F4C-4F53-4449-534B-000000000001"
	slotA  = "4B534F4C-4F53-4449-534B-000000000002"
	slotB  = "4B534F4C-4F53-4449-534B-000000000003"
	dataID = "4B534F4C-4F53-4449-534B-000000000004"
)

// Parts are host files.
type Parts struct {
	Slot string // squashfs image, written to both slots
	Data string // raw ext4 template, sparse; its size is the size of the data partition
	Work string // scratch directory
}

// Write writes the disk image to out.
func Write(ctx context.Context, run *tool.Runner, out string, p Parts) error {
	if err := os.MkdirAll(p.Work, 0o755); err != nil {
		return err
	}
	slot, err := os.Stat(p.Slot)
	if err != nil {
		return err
	}
	if slot.Size() > SlotSize {
		return fmt.Errorf("slot image %s has %d bytes, a slot holds %d", p.Slot, slot.Size(), SlotSize)
	}
	data, err := os.Stat(p.Data)
	if err != nil {
		return err
	}
	dataSize := (data.Size() + mib - 1) / mib * mib
	size := int64(tableSize + biosSize + efiSize + 2*SlotSize + dataSize + tableSize)
	table, err := gpt.Build(gpt.MustGUID(diskID), size, 512, []gpt.Spec{
		{Number: 5, Type: gpt.MustGUID(gpt.TypeBIOSBoot), ID: gpt.MustGUID(biosID), Name: gpt.NameBIOSBoot, Size: biosSize},
		{Number: 1, Type: gpt.MustGUID(gpt.TypeEFI), ID: gpt.MustGUID(efiID), Name: gpt.NameEFI, Size: efiSize},
		{Number: 2, Type: gpt.MustGUID(gpt.TypeLinux), ID: gpt.MustGUID(slotA), Name: gpt.NameSlotA, Size: SlotSize},
		{Number: 3, Type: gpt.MustGUID(gpt.TypeLinux), ID: gpt.MustGUID(slotB), Name: gpt.NameSlotB, Size: SlotSize},
		{Number: 4, Type: gpt.MustGUID(gpt.TypeLinux), ID: gpt.MustGUID(dataID), Name: gpt.NameData, Size: dataSize},
	})
	if err != nil {
		return fmt.Errorf("disk image: %w", err)
	}
	efi := filepath.Join(p.Work, "efi.img")
	core := filepath.Join(p.Work, "core.img")
	if err := grubFiles(ctx, run, p.Work, efi, core); err != nil {
		return err
	}
	// Written beside and renamed: an interrupted build leaves no half image that boots.
	part := out + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	err = fill(f, size, table, map[int]string{1: efi, 2: p.Slot, 3: p.Slot, 4: p.Data, 5: core})
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("disk image: %w", err)
	}
	return os.Rename(part, out)
}

// grubFiles makes the file system of partition 1 and the BIOS core image.
func grubFiles(ctx context.Context, run *tool.Runner, work, efi, core string) error {
	in := func(name string) string { return filepath.Join(work, name) }
	for _, img := range []grub.Image{
		{Platform: grub.BIOS, Prefix: "(,gpt1)/boot/grub", Out: core},
		{Platform: grub.UEFI, Prefix: "/boot/grub", Out: in("bootx64.efi")},
	} {
		if err := grub.Make(ctx, run, img); err != nil {
			return err
		}
	}
	env, err := abslot.First(abslot.A).Encode()
	if err != nil {
		return err
	}
	for name, b := range map[string][]byte{"grub.cfg": []byte(grub.DiskMenu()), "env": env} {
		if err := os.WriteFile(in(name), b, 0o644); err != nil {
			return err
		}
	}
	// The files lie on the disk in this order: GRUB's core image keeps the two copies
	// apart, so that a medium that damages more than the sector being written
	// (4 KiB of a hard disk, more of flash) does not damage both.
	return fat.Make(ctx, run, efi, fat.Options{Size: efiSize, Label: gpt.NameEFI, Serial: 0x4B534F32, FAT32: true}, []fat.File{
		{Path: "boot/grub/env1", Host: in("env")},
		{Path: "EFI/BOOT/BOOTX64.EFI", Host: in("bootx64.efi")},
		{Path: "boot/grub/grub.cfg", Host: in("grub.cfg")},
		{Path: "boot/grub/env2", Host: in("env")},
	})
}

func fill(f *os.File, size int64, table *gpt.Table, contents map[int]string) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := table.Write(f); err != nil {
		return err
	}
	for number, file := range contents {
		p, ok := table.Find(number)
		if !ok {
			return fmt.Errorf("no partition %d", number)
		}
		fi, err := os.Stat(file)
		if err != nil {
			return err
		}
		if room := int64(p.Sectors()) * 512; fi.Size() > room {
			return fmt.Errorf("partition %s: %s has %d bytes, there is room for %d", p.Name, file, fi.Size(), room)
		}
		if err := copySparse(f, int64(p.First)*512, file); err != nil {
			return fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	core, _ := table.Find(5)
	return installBIOS(f, core.First, contents[5])
}

// copySparse copies a file to offset at of f and leaves out blocks of zeros.
func copySparse(f *os.File, at int64, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !allZero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
