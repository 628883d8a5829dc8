package base

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tree"
)

// TinyCore returns the userland of a Tiny Core core.gz (a gzip'ed newc cpio; plain cpio is
// taken too), hardened, and notes that say what was dropped.
func TinyCore(coreGZ string, lock *inputs.Lock) (*tree.Tree, []string, error) {
	f, err := os.Open(coreGZ)
	if err != nil {
		return nil, nil, fmt.Errorf("CORE_GZ: %w; give the path of a Tiny Core core.gz or corepure64.gz", err)
	}
	defer func() { _ = f.Close() }() // read only
	sum, size, err := inputs.HashFile(coreGZ)
	if err != nil {
		return nil, nil, err
	}
	lock.Add(inputs.Input{Name: "core.gz", Kind: "file", Origin: filepath.Base(coreGZ), SHA256: sum, Size: size})
	var archive []byte
	if z, zErr := gzip.NewReader(f); zErr == nil {
		archive, err = io.ReadAll(z)
	} else if _, err = f.Seek(0, io.SeekStart); err == nil {
		archive, err = io.ReadAll(f)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("CORE_GZ=%s: damaged gzip data: %w", coreGZ, err)
	}
	if !bytes.HasPrefix(archive, []byte("070701")) && !bytes.HasPrefix(archive, []byte("070702")) {
		return nil, nil, fmt.Errorf("CORE_GZ=%s: not a (gzip'ed) newc cpio archive", coreGZ)
	}
	t := tree.New()
	if err := t.ReadCPIO(bytes.NewReader(archive), "userland"); err != nil {
		return nil, nil, fmt.Errorf("CORE_GZ=%s: %w", coreGZ, err)
	}
	if _, n := t.Resolve("bin/busybox"); n == nil {
		return nil, nil, fmt.Errorf("CORE_GZ=%s: no /bin/busybox in it: not a Tiny Core root", coreGZ)
	}
	return t, Harden(t), nil
}

// dropped are the parts of Tiny Core that an appliance must not have or that ours replace:
// ways to become root, the package loader, the old boot, state, and the cache that would
// send our loader to the base's libraries.
func dropped() []string {
	return []string{
		"init", "linuxrc", "sbin/init", "etc/inittab", "etc/init.d", "etc/skel",
		"etc/sudoers", "etc/sudoers.d", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow",
		"usr/bin/sudo", "usr/bin/sudoedit", "usr/sbin/visudo", "usr/lib/sudo_noexec.so", "usr/lib/libsudo_noexec.so",
		"sbin/autologin", "sbin/ctty-hack", "etc/securetty",
		"etc/ld.so.cache", "etc/ld.so.conf", "etc/fstab", "etc/hostname", "etc/hosts", "etc/resolv.conf",
		"etc/motd", "etc/issue", "etc/os-release", "etc/profile", "etc/sysconfig", "etc/modprobe.conf",
		"opt", "tce", "usr/local", "lib/modules", "lib/udev", "sbin/udevd", "sbin/udevadm", "etc/udev",
		"dev", "home", "root", "tmp", "run", "var", "mnt", "proc", "sys",
	}
}

// Harden removes what an appliance must not have from a Tiny Core root: set-uid programs
// and links to them, accounts and passwords, the extension loader, device nodes, state;
// and takes write permission from group and others. It returns notes for the build log.
func Harden(t *tree.Tree) []string {
	var notes []string
	for _, p := range dropped() {
		if n := t.Remove(p); n > 0 {
			notes = append(notes, fmt.Sprintf("dropped /%s (%d entries)", p, n))
		}
	}
	for _, p := range t.Paths() {
		n := t.Get(p)
		switch {
		case n.Mode.IsRegular() && n.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			t.Remove(p)
			notes = append(notes, "dropped /"+p+" (set-uid or set-gid)")
		case strings.HasPrefix(path.Base(p), "tce") && path.Dir(p) == "usr/bin":
			t.Remove(p)
			notes = append(notes, "dropped /"+p+" (extension loader)")
		case n.Mode&fs.ModeSymlink == 0:
			kept := n.Mode &^ (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o022)
			if kept.Perm()&0o444 != 0o444 && n.Mode.IsRegular() {
				kept |= 0o400 // visudo and sudo style modes without read: a root that cannot be copied
			}
			n.Mode = kept
		}
	}
	return append(notes, dropDangling(t)...)
}

// dropDangling removes links whose targets the hardening took away. Links into places
// that are mounts at run time stay.
func dropDangling(t *tree.Tree) []string {
	var notes []string
	for again := true; again; {
		again = false
		for _, p := range t.Paths() {
			n := t.Get(p)
			if n == nil || n.Mode&fs.ModeSymlink == 0 {
				continue
			}
			if target, found := t.Resolve(p); found == nil && !runtimePath(target) {
				t.Remove(p)
				notes = append(notes, "dropped /"+p+" (link to nothing)")
				again = true
			}
		}
	}
	return notes
}

func runtimePath(p string) bool {
	top, _, _ := strings.Cut(p, "/")
	switch top {
	case "proc", "dev", "run", "sys", "tmp", "var", "data":
		return true
	}
	return false
}
