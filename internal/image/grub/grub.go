// Package grub makes GRUB's parts of the image: core images for BIOS and UEFI with all
// modules inside, the menus, and the environment blocks.
//
// It owns the kernel command lines of the menus. It writes files, never a device: where
// boot code goes on a disk is the disk package's. Tested with golden menus checked by
// grub-script-check and with real core images.
package grub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/tool"
)

// Label is the ISO's volume name, by which the UEFI core image finds it.
const Label = "KUBESOLO_OS"

// Platforms of grub-mkimage.
const (
	BIOS         = "i386-pc"
	BIOSElTorito = "i386-pc-eltorito"
	UEFI         = "x86_64-efi"
)

// Dir is where GRUB's Debian packages keep a platform's files.
func Dir(platform string) string {
	return filepath.Join("/usr/lib/grub", strings.TrimSuffix(platform, "-eltorito"))
}

// Image is a core image to make.
type Image struct {
	Platform string
	Prefix   string // where grub.cfg is: "/boot/grub" on the boot device, "(,gpt1)/boot/grub" on its partition 1
	Early    string // commands run before the menu, "" for none
	Out      string
}

// modules of every core image: reading the media of the image, the menu, the commands a
// person needs at GRUB's prompt. Nothing is loaded from files later, so that a damaged
// file system cannot leave GRUB without a command.
const modules = "normal configfile linux echo test search search_label search_fs_file loadenv regexp serial terminal " +
	"ls cat halt reboot sleep chain minicmd iso9660 fat squash4 part_gpt part_msdos extcmd true"

// Make writes the core image.
func Make(ctx context.Context, run *tool.Runner, img Image) error {
	names := modules + " biosdisk"
	if img.Platform == UEFI {
		names = modules + " efi_gop all_video"
	}
	args := []string{"-O", img.Platform, "-d", Dir(img.Platform), "-o", img.Out, "-p", img.Prefix}
	if img.Early != "" {
		file := img.Out + ".cfg"
		if err := os.WriteFile(file, []byte(img.Early), 0o644); err != nil {
			return err
		}
		args = append(args, "-c", file)
	}
	args = append(args, strings.Fields(names)...)
	if err := run.Run(ctx, tool.Command{Name: "grub-mkimage", Args: args}); err != nil {
		return fmt.Errorf("grub %s: %w", img.Platform, err)
	}
	return nil
}

// BaseArguments are the kernel arguments of every entry. The serial port comes last, so
// /dev/console is that; without one the kernel falls back to the screen. panic=10 turns a
// crash of PID 1 into a reboot. The last line is hardening: docs/hardening.md has the
// reason of each, and package audit looks for them on the node.
const BaseArguments = "console=tty0 console=ttyS0,115200 panic=10 printk.devkmsg=on " +
	"slab_nomerge init_on_alloc=1 page_alloc.shuffle=1 randomize_kstack_offset=on vsyscall=none"

const quiet = "quiet loglevel=4"

// entry is one line of the menu.
type entry struct{ id, title, arguments string }

func entries() []entry {
	return []entry{
		{"normal", "KubeSolo OS", quiet + " kubesolo.data=auto"},
		{"debug", "KubeSolo OS, debug log on the console", "loglevel=7 kubesolo.data=auto kubesolo.debug"},
		{"shell", "KubeSolo OS, emergency shell", quiet + " kubesolo.data=auto kubesolo.shell"},
		{"nopersist", "KubeSolo OS, nothing is kept (no data partition)", quiet + " kubesolo.nopersist"},
	}
}

// header sets up the menu. A UEFI firmware that redirects its console already writes to
// the serial line, so GRUB opens the port itself only under BIOS.
const header = `set timeout=3
set default=0
if [ "$grub_platform" = "pc" ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi
`

// ISOMenu is /boot/grub/grub.cfg of the ISO.
func ISOMenu() string {
	var b strings.Builder
	b.WriteString("# KubeSolo OS, bootable medium.\n" + header)
	for _, e := range entries() {
		fmt.Fprintf(&b, `
menuentry "%s" --id %s {
  echo "Loading KubeSolo OS ..."
  linux /boot/vmlinuz %s %s
  initrd /boot/kubesolo-os.gz
}
`, e.title, e.id, BaseArguments, e.arguments)
	}
	return b.String()
}

// ISOEarly is run by the UEFI core image, whose own device is the small FAT image: it
// looks for the medium.
func ISOEarly() string {
	return "search --no-floppy --set=root --label " + Label + "\nset prefix=($root)/boot/grub\n"
}
