// Package kernel prepares the kernel of an image: its bzImage, its release, and the
// chosen part of its modules with everything they depend on.
//
// It owns the unpacked module tree in the build's work directory and the reading of
// kernel/modules.list. Modules are stored plain (.ko): finit_module needs no decoder then
// and Debian's signatures stay valid. It never loads a module. Tested with a made-up
// module tree and the real depmod.
package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
)

// Kernel is a kernel on the build host.
type Kernel struct {
	Image   string // bzImage
	Release string // as `uname -r` will say
	Modules string // directory that holds lib/modules/<Release>, modules unpacked
	Config  string // its build configuration, plain or gzip, "" when unknown
	Origin  string
}

// ModulesDir is the directory of the kernel's modules.
func (k Kernel) ModulesDir() string { return filepath.Join(k.Modules, "lib/modules", k.Release) }

// ErrNotKernel is wrapped when a file is not an x86 bzImage.
var ErrNotKernel = errors.New("not an x86 kernel image (bzImage)")

// ReleaseOf reads the release out of a bzImage (Documentation/arch/x86/boot.rst: "HdrS" at
// 0x202, offset of the version string minus 0x200 at 0x20e).
func ReleaseOf(image io.ReaderAt) (string, error) {
	var header [0x210]byte
	if _, err := image.ReadAt(header[:], 0); err != nil || !bytes.Equal(header[0x202:0x206], []byte("HdrS")) {
		return "", ErrNotKernel
	}
	at := int64(binary.LittleEndian.Uint16(header[0x20e:])) + 0x200
	var text [256]byte
	n, err := image.ReadAt(text[:], at)
	if n == 0 {
		return "", fmt.Errorf("%w: %w", ErrNotKernel, err)
	}
	release, _, ok := strings.Cut(string(text[:n]), " ")
	if !ok || release == "" || strings.ContainsAny(release, "/\x00") {
		return "", fmt.Errorf("%w: no version string", ErrNotKernel)
	}
	return release, nil
}

// Debian unpacks the newest Debian kernel package (the one linux-image-amd64 stands for)
// into dir. A second call with the same package does nothing but read its stamp.
func Debian(ctx context.Context, d inputs.Debian, dir string, lock *inputs.Lock) (Kernel, error) {
	name, err := d.Depends(ctx, "linux-image-amd64", "linux-image-")
	if err != nil {
		return Kernel{}, err
	}
	fetched, err := d.Fetch(ctx, name)
	if err != nil {
		return Kernel{}, err
	}
	p := fetched[0]
	lock.Add(p.Input)
	release := strings.TrimPrefix(name, "linux-image-")
	k := Kernel{Image: filepath.Join(dir, "vmlinuz"), Release: release, Modules: dir,
		Config: filepath.Join(dir, "config"), Origin: "Debian package " + name + " " + p.Version}
	stamp := filepath.Join(dir, "unpacked")
	if old, err := os.ReadFile(stamp); err == nil && string(old) == p.Input.SHA256 {
		return k, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return Kernel{}, err
	}
	err = d.Entries(ctx, p, func(h *tar.Header, r io.Reader) error {
		var to string
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil
		case h.Name == "boot/vmlinuz-"+release:
			to = k.Image
		case h.Name == "boot/config-"+release:
			to = k.Config
		case strings.HasPrefix(h.Name, "lib/modules/"+release+"/"):
			to = filepath.Join(dir, h.Name)
		case strings.HasPrefix(h.Name, "usr/lib/modules/"+release+"/"): // Debian 13
			to = filepath.Join(dir, strings.TrimPrefix(h.Name, "usr/"))
		default:
			return nil
		}
		return store(ctx, d.Run, to, r)
	})
	if err != nil {
		return Kernel{}, err
	}
	if err := depmod(ctx, d.Run, dir, release); err != nil {
		return Kernel{}, err
	}
	return k, os.WriteFile(stamp, []byte(p.Input.SHA256), 0o644)
}

// depmod writes modules.dep and its relatives for all modules below dir.
func depmod(ctx context.Context, run *tool.Runner, dir, release string) error {
	return run.Run(ctx, tool.Command{Name: "depmod", Args: []string{"-b", dir, release}})
}
