// Package base makes the root file system: it takes a userland (Debian's busybox, or a
// Tiny Core core.gz), hardens it, and injects what KubeSolo OS adds.
//
// It owns the layout of the root (design §2, the contract of mount points) and knows
// nothing of how a root is packed. Everything happens in a tree.Tree. Tested with golden
// listings over small packages and over a made-up core.gz with a dynamic busybox.
package base

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

// Debian returns the userland made from Debian's static busybox, in Tiny Core's layout:
// /bin /sbin /usr/bin /usr/sbin are separate, every applet is a link to /bin/busybox.
func Debian(ctx context.Context, d inputs.Debian, scratch string, lock *inputs.Lock) (*tree.Tree, error) {
	packages, err := d.Fetch(ctx, "busybox-static")
	if err != nil {
		return nil, err
	}
	lock.Add(packages[0].Input)
	binary, err := busybox(ctx, d, packages[0])
	if err != nil {
		return nil, err
	}
	// Which applets there are is asked of the program itself: it is static and of this
	// machine's architecture.
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return nil, err
	}
	copied := filepath.Join(scratch, "busybox")
	if err := os.WriteFile(copied, binary, 0o755); err != nil {
		return nil, err
	}
	applets, err := d.Run.Output(ctx, tool.Command{Name: copied, Args: []string{"--list-full"}})
	if err != nil {
		return nil, err
	}
	t := tree.New()
	if err := t.File("bin/busybox", 0o755, tree.Bytes(binary), "userland"); err != nil {
		return nil, err
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if path.Base(applet) == "busybox" || applet == "linuxrc" {
			continue
		}
		if err := t.Link(applet, "/bin/busybox", "userland"); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func busybox(ctx context.Context, d inputs.Debian, p inputs.Package) ([]byte, error) {
	var binary []byte
	err := d.Entries(ctx, p, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || (h.Name != "bin/busybox" && h.Name != "usr/bin/busybox") {
			return nil
		}
		var err error
		binary, err = io.ReadAll(r)
		return err
	})
	if err == nil && binary == nil {
		err = fmt.Errorf("debian package %s %s holds no busybox", p.Name, p.Version)
	}
	return binary, err
}

// Certificates adds Debian's bundle of certificate authorities.
func Certificates(ctx context.Context, d inputs.Debian, t *tree.Tree, lock *inputs.Lock) error {
	packages, err := d.Fetch(ctx, "ca-certificates")
	if err != nil {
		return err
	}
	lock.Add(packages[0].Input)
	certificates := map[string][]byte{}
	err = d.Entries(ctx, packages[0], func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || path.Ext(h.Name) != ".crt" {
			return nil
		}
		b, err := io.ReadAll(r)
		certificates[h.Name] = b
		return err
	})
	if err != nil {
		return err
	}
	var names []string
	for name := range certificates {
		names = append(names, name)
	}
	slices.Sort(names)
	var bundle bytes.Buffer
	for _, name := range names {
		bundle.Write(bytes.TrimRight(certificates[name], "\n"))
		bundle.WriteByte('\n')
	}
	return t.File("etc/ssl/certs/ca-certificates.crt", 0o644, tree.Bytes(bundle.Bytes()), "userland")
}

// Names adds /etc/protocols and /etc/services: nft turns "tcp" in a set element into a
// number by the former.
func Names(ctx context.Context, d inputs.Debian, t *tree.Tree, lock *inputs.Lock) error {
	packages, err := d.Fetch(ctx, "netbase")
	if err != nil {
		return err
	}
	lock.Add(packages[0].Input)
	files, err := d.Files(ctx, packages[0], "etc/protocols", "etc/services")
	if err != nil {
		return err
	}
	for _, name := range []string{"etc/protocols", "etc/services"} {
		if err := t.File(name, 0o644, tree.Bytes(files[name]), "userland"); err != nil {
			return err
		}
	}
	return nil
}

// unpack adds all files of Debian packages to a tree, as the pool that single programs
// and their libraries are picked from.
func unpack(ctx context.Context, d inputs.Debian, packages []inputs.Package) (*tree.Tree, error) {
	pool := tree.New()
	for _, p := range packages {
		err := d.Entries(ctx, p, func(h *tar.Header, r io.Reader) error {
			if strings.HasPrefix(h.Name, "usr/share/") {
				return nil // documentation, translations
			}
			switch h.Typeflag {
			case tar.TypeReg:
				b, err := io.ReadAll(r)
				if err != nil {
					return err
				}
				return pool.File(h.Name, fs.FileMode(h.Mode)&0o755, tree.Bytes(b), p.Name)
			case tar.TypeSymlink:
				return pool.Link(h.Name, h.Linkname, p.Name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if _, n := pool.Resolve("lib64/ld-linux-x86-64.so.2"); n == nil {
		// Debian 13 keeps these links in base-files.
		for _, dir := range []string{"lib64", "lib", "bin", "sbin"} {
			if err := pool.Link(dir, "usr/"+dir, "base-files"); err != nil {
				return nil, err
			}
		}
	}
	return pool, nil
}
