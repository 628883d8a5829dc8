package vmrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/grub"
	"kubesolo.io/os/internal/vmtest"
)

// Options say what to boot and how. Build is required.
type Options struct {
	Build    string // directory with the artefacts of `ksimage build`
	Disk     bool   // boot the disk image instead of the ISO
	Snapshot bool   // throw away what is written to the disk
	UEFI     bool
	Memory   int      // MiB, default 2048
	CPUs     int      // default 2
	Append   []string // kernel arguments; boots vmlinuz and kubesolo-os.gz directly, with the disk's data
	Offline  bool     // no network device at all
	Console  bool     // the serial console on the terminal, both ways

	ExitWhenReady bool // shut down in order once Ready
	JSON          bool // events and result as JSON lines

	Ready func() // called once the result is printed; may be nil

	// Connect gives a client for the API of a kubeconfig.
	Connect func(kubeconfig []byte) (API, error)
}

// API is what the run command asks of a Kubernetes client.
type API interface {
	Do(ctx context.Context, method, path string, in, out any) error
}

// Needs are the programs, and by their path the files, that this run takes from the
// host's packages. Those of UEFI are where vmtest reads them.
func (o Options) Needs() []string {
	needs := []string{"qemu-system-x86_64"}
	if o.Disk {
		needs = append(needs, "qemu-img")
	}
	if o.UEFI {
		needs = append(needs, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
	}
	return needs
}

// Kernel arguments of a direct boot; the boot menus of ISO and disk have the
// same (internal/image/grub).
const directArgs = grub.BaseArguments + " quiet loglevel=4"

// dataSize is what the data disk may grow to; it is sparse.
const dataSize = 8 << 30

// config finds the artefacts, makes the disks, and describes the machine. The
// notes are lines for the person.
func (o Options) config(ctx context.Context) (c vmtest.Config, notes []string, err error) {
	c = vmtest.Config{
		Name: "run", UEFI: o.UEFI, Memory: cmp.Or(o.Memory, 2048), CPUs: cmp.Or(o.CPUs, 2),
		ProbeWith: filepath.Join(o.Build, "vmlinuz"),
	}
	if !o.Offline {
		c.NIC = &vmtest.NIC{Forward: []int{apiPort}}
	}
	switch {
	case len(o.Append) > 0:
		if o.UEFI {
			return c, nil, errors.New("--append boots vmlinuz and kubesolo-os.gz directly; it does not go with --uefi")
		}
		c.Kernel = filepath.Join(o.Build, "vmlinuz")
		c.Initrd = filepath.Join(o.Build, "kubesolo-os.gz")
		c.Append = strings.Join(append([]string{directArgs}, o.Append...), " ")
	case !o.Disk:
		c.ISO = filepath.Join(o.Build, "kubesolo-os-amd64.iso")
	}
	image := filepath.Join(o.Build, "kubesolo-os-amd64.img")
	for _, needed := range []string{c.Kernel, c.Initrd, c.ISO, map[bool]string{true: image}[o.Disk]} {
		if needed == "" {
			continue
		}
		if _, err := os.Stat(needed); err != nil {
			return c, nil, fmt.Errorf("%w: build it first with `make image`", err)
		}
	}
	disk := vmtest.Disk{Path: filepath.Join(o.Build, "data.img"), Snapshot: o.Snapshot}
	if o.Disk {
		disk.Path = filepath.Join(o.Build, "run-disk.qcow2")
		notes, err = overlay(ctx, image, disk.Path)
	} else {
		notes, err = dataDisk(disk.Path)
	}
	c.Disks = []vmtest.Disk{disk}
	return c, notes, err
}

// dataDisk makes an empty sparse disk unless there is one.
func dataDisk(path string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return []string{"data disk   " + path + " (kept from an earlier run; delete it to start afresh)"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(dataSize); err != nil {
		return nil, err
	}
	return []string{"data disk   " + path + " (new and empty: the node formats it)"}, nil
}

// overlay makes a copy-on-write file over the image unless there is a newer
// one, so that the artefact stays as it was built.
func overlay(ctx context.Context, image, path string) ([]string, error) {
	built, err := os.Stat(image)
	if err != nil {
		return nil, err
	}
	old, err := os.Stat(path)
	if err == nil && old.ModTime().After(built.ModTime()) {
		return []string{"disk        " + path + " (kept from an earlier run; delete it to start afresh)"}, nil
	}
	note := "disk        " + path + " (new, over " + filepath.Base(image) + ")"
	if err == nil {
		// An overlay over other bytes is a broken disk, not an old one.
		note = "disk        " + path + " (made anew: the image was rebuilt)"
	}
	backing, err := filepath.Abs(image)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, path, fmt.Sprint(int64(dataSize)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu-img create %s (Debian package qemu-utils): %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return []string{note}, nil
}
