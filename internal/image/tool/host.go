package tool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packageOf names the Debian package that holds a program (Debian 12 and 13), "" when
// none does. A key with a slash is a file, not a program in PATH.
func packageOf(program string) string {
	switch program {
	case "go":
		return "" // Debian's golang is older than go.mod wants; see need
	case "apt-get":
		return "apt"
	case "dpkg-deb":
		return "dpkg"
	case "qemu-system-x86_64":
		return "qemu-system-x86"
	case "qemu-img":
		return "qemu-utils"
	case "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd":
		return "ovmf"
	case "mkfs.vfat":
		return "dosfstools"
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

// goVersion is that of go.mod, as a person looks for it.
const goVersion = "1.26"

// find is where a program is. Debian leaves the administrator's directories out of
// another user's PATH, and what is in them makes file systems for every user.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil || strings.Contains(program, "/") {
		return path, err
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", err
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
		} else if _, err := find(p); err == nil {
			continue
		}
		if name := packageOf(p); name != "" {
			packages = append(packages, name)
		}
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// InstallCommand is the command that brings the packages, as a person would type it.
func InstallCommand(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

// Need makes sure that the programs are there: as root it says so and installs their
// Debian packages, else the error holds the exact command to type.
func (r *Runner) Need(ctx context.Context, say func(format string, args ...any), programs ...string) error {
	return r.need(ctx, os.Geteuid() == 0, say, programs)
}

func (r *Runner) need(ctx context.Context, root bool, say func(format string, args ...any), programs []string) error {
	if _, err := find("go"); err != nil && slices.Contains(programs, "go") {
		return fmt.Errorf("go: %w: unpack Go %s or newer from https://go.dev/dl and put its bin directory into PATH; Debian's own is older",
			ErrMissing, goVersion)
	}
	packages := Missing(programs...)
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	if _, err := find("apt-get"); err != nil {
		return fmt.Errorf("%w: Debian has it in %s; there is no apt-get here, so install what holds the same", ErrMissing, list)
	}
	if !root {
		return fmt.Errorf("these Debian packages are missing: %s; install them with:\n    sudo %s", list, InstallCommand(packages))
	}
	say("installing Debian packages: %s", list)
	install := Command{Name: "apt-get", Args: append([]string{"install", "-y", "--no-install-recommends"}, packages...),
		Env: []string{"DEBIAN_FRONTEND=noninteractive"}}
	if err := r.Run(ctx, install); err != nil {
		// A machine whose package lists were never read, or are too old, cannot find the files.
		if upErr := r.Run(ctx, Command{Name: "apt-get", Args: []string{"update"}}); upErr != nil {
			return fmt.Errorf("install %s: %w", list, upErr)
		}
		if err := r.Run(ctx, install); err != nil {
			return fmt.Errorf("install %s: %w", list, err)
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
	path, err := find(program)
	if err != nil {
		return "unknown"
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = program // some say it
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	out, _ := cmd.CombinedOutput() // some programs exit 1 after their version
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "unknown"
	}
	return line
}
