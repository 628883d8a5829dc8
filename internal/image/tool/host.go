package tool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// packageOf names the Debian package that holds a program (Debian 12 and 13).
// A key with a slash is a file, not a program in PATH.
func packageOf(program string) string {
	switch program {
	case "mksquashfs", "unsquashfs":
		return "squashfs-tools"
	case "mformat", "mcopy", "mmd", "mdir":
		return "mtools"
	case "grub-mkimage":
		return "grub-common"
	case "depmod":
		return "kmod"
	case "mkfs.ext4":
		return "e2fsprogs"
	case "gcc":
		return "gcc"
	case "xz":
		return "xz-utils"
	case "/usr/lib/grub/i386-pc/boot_hybrid.img":
		return "grub-pc-bin"
	case "/usr/lib/grub/x86_64-efi/moddep.lst":
		return "grub-efi-amd64-bin"
	case "/usr/lib/x86_64-linux-gnu/libseccomp.a":
		return "libseccomp-dev"
	case "/usr/include/x86_64-linux-gnu/sys/types.h":
		return "libc6-dev"
	}
	return program
}

// Missing returns, sorted, the Debian packages of the programs (or files, when the name
// starts with a slash) that this machine does not have.
func Missing(programs ...string) []string {
	var packages []string
	for _, p := range programs {
		if strings.HasPrefix(p, "/") {
			if _, err := os.Stat(p); err == nil {
				continue
			}
		} else if _, err := exec.LookPath(p); err == nil {
			continue
		}
		packages = append(packages, packageOf(p))
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// InstallCommand is the command that brings the packages, as a person would type it.
func InstallCommand(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

// Need makes sure that the programs are there: as root it installs their Debian
// packages, else the error holds the exact command to type.
func (r *Runner) Need(ctx context.Context, programs ...string) error {
	packages := Missing(programs...)
	if len(packages) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("these Debian packages are missing: %s; install them with:\n    sudo %s",
			strings.Join(packages, " "), InstallCommand(packages))
	}
	install := Command{Name: "apt-get", Args: append([]string{"install", "-y", "--no-install-recommends"}, packages...),
		Env: []string{"DEBIAN_FRONTEND=noninteractive"}}
	if err := r.Run(ctx, install); err != nil {
		// A machine whose package lists were never read, or are too old, cannot find the files.
		if upErr := r.Run(ctx, Command{Name: "apt-get", Args: []string{"update"}}); upErr != nil {
			return fmt.Errorf("install %s: %w", strings.Join(packages, " "), upErr)
		}
		if err := r.Run(ctx, install); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(packages, " "), err)
		}
	}
	if left := Missing(programs...); len(left) > 0 {
		return fmt.Errorf("still missing after %q: %s", InstallCommand(packages), strings.Join(left, " "))
	}
	return nil
}

// Version is the first line a program says about its version, asked once per program.
func (r *Runner) Version(program string) string {
	r.mu.Lock()
	v, ok := r.versions[program]
	r.mu.Unlock()
	if ok {
		return v
	}
	v = askVersion(program)
	r.mu.Lock()
	r.versions[program] = v
	r.mu.Unlock()
	return v
}

func askVersion(program string) string {
	args := []string{"--version"}
	switch {
	case program == "go":
		args = []string{"version"}
	case strings.HasSuffix(program, "squashfs"):
		args = []string{"-version"}
	case program == "mkfs.ext4":
		args = []string{"-V"}
	case strings.HasPrefix(program, "/"):
		return "built here" // a file of this build, run to ask it something
	}
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	out, _ := cmd.CombinedOutput() // some programs exit 1 after their version
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "unknown"
	}
	return line
}
