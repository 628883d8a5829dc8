// Package iso writes the bootable ISO: one file that starts from a CD or a USB stick,
// under BIOS and UEFI.
//
// It owns the ISO's layout (/boot/vmlinuz, /boot/kubesolo-os.gz, /boot/grub) and the
// options that make it the same bytes every time. Tested with the real xorriso by
// reading the result back.
package iso

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/fat"
	"kubesolo.io/os/internal/image/grub"
	"kubesolo.io/os/internal/image/tool"
)

// Parts are host files.
type Parts struct {
	Kernel, Initramfs string
	Work              string // scratch directory
}

// Write writes the ISO to out.
func Write(ctx context.Context, run *tool.Runner, out string, p Parts) error {
	if err := os.RemoveAll(p.Work); err != nil {
		return err
	}
	if err := os.MkdirAll(p.Work, 0o755); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(p.Work, name) }
	if err := os.WriteFile(in("grub.cfg"), []byte(grub.ISOMenu()), 0o644); err != nil {
		return err
	}
	for _, img := range []grub.Image{
		{Platform: grub.BIOSElTorito, Prefix: "/boot/grub", Out: in("eltorito.img")},
		{Platform: grub.UEFI, Prefix: "/boot/grub", Early: grub.ISOEarly(), Out: in("bootx64.efi")},
	} {
		if err := grub.Make(ctx, run, img); err != nil {
			return err
		}
	}
	core, err := os.Stat(in("bootx64.efi"))
	if err != nil {
		return err
	}
	// Whole MiB, with 64 KiB for the file system itself.
	size := (core.Size() + 64<<10 + 1<<20 - 1) &^ (1<<20 - 1)
	err = fat.Make(ctx, run, in("efi.img"), fat.Options{Size: size, Label: "KUBESOLOEFI", Serial: 0x4B534F31},
		[]fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Host: in("bootx64.efi")}})
	if err != nil {
		return err
	}
	// xorriso keeps times of files: give all of them the build's.
	for _, name := range []string{"grub.cfg", "eltorito.img", "efi.img"} {
		if err := os.Chtimes(in(name), run.Epoch(), run.Epoch()); err != nil {
			return err
		}
	}
	date := strings.ReplaceAll(run.Epoch().UTC().Format("20060102150405.00"), ".", "")
	// Written beside and renamed: an interrupted build leaves no half medium.
	part := in("part.iso")
	args := []string{"-as", "mkisofs", "-quiet", "-r", "-V", grub.Label, "--modification-date=" + date,
		"--set_all_file_dates", date, "-graft-points", "-o", part,
		"-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
		"--grub2-boot-info", "--grub2-mbr", filepath.Join(grub.Dir(grub.BIOS), "boot_hybrid.img"),
		"--efi-boot", "boot/grub/efi.img", "-efi-boot-part", "--efi-boot-image", "--protective-msdos-label",
		"boot/vmlinuz=" + p.Kernel, "boot/kubesolo-os.gz=" + p.Initramfs,
		"boot/grub/grub.cfg=" + in("grub.cfg"), "boot/grub/eltorito.img=" + in("eltorito.img"), "boot/grub/efi.img=" + in("efi.img"),
	}
	if err := run.Run(ctx, tool.Command{Name: "xorriso", Args: args}); err != nil {
		return fmt.Errorf("iso: %w", err)
	}
	return os.Rename(part, out)
}
