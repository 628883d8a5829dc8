package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// kernelMounts go along into the new root when they are mounted.
func kernelMounts() []string { return []string{"/dev", "/proc", "/sys", "/run"} }

// SwitchRoot makes the file system mounted at newroot the root of this process
// and deletes the files of the initramfs it leaves, so that their memory is
// free again. The caller execs the new init next.
//
// pivot_root(2) is refused (EINVAL) on the initramfs, hence MS_MOVE and
// chroot(2). The deletion goes by directory descriptor, does not cross into
// another file system, and happens only when the old root is a ramfs or tmpfs.
// Files that are open or attached to a loop device lose their name only; those
// named by keep, at the top of the initramfs, keep it.
func SwitchRoot(newroot string, keep ...string) error {
	if err := switchRoot(newroot, keep); err != nil {
		return fmt.Errorf("switch root to %s: %w", newroot, err)
	}
	return nil
}

func switchRoot(newroot string, keep []string) error {
	old, err := os.Open("/")
	if err != nil {
		return err
	}
	defer old.Close()
	oldDev, err := deviceOf("/")
	if err != nil {
		return err
	}
	newDev, err := deviceOf(newroot)
	if err != nil {
		return err
	}
	if oldDev == newDev {
		return errors.New("it is not a mount of its own")
	}
	for _, dir := range kernelMounts() {
		if err := moveMount(dir, filepath.Join(newroot, dir), oldDev); err != nil {
			return err
		}
	}
	if err := unix.Chdir(newroot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move over /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return freeInitramfs(old, oldDev, keep)
}

// moveMount moves dir when it is a mount point. A new root without the
// directory loses the mount rather than the boot.
func moveMount(dir, target string, rootDev uint64) error {
	dev, err := deviceOf(dir)
	if err != nil || dev == rootDev {
		return nil //nolint:nilerr // not there, or not a mount: nothing to move
	}
	if _, err := os.Stat(target); err != nil {
		return unix.Unmount(dir, unix.MNT_DETACH)
	}
	if err := unix.Mount(dir, target, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s: %w", dir, err)
	}
	return nil
}

func deviceOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Dev, nil
}

func freeInitramfs(root *os.File, dev uint64, keep []string) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return err
	}
	if st.Type != unix.RAMFS_MAGIC && st.Type != unix.TMPFS_MAGIC {
		return nil // a disk: not ours to empty
	}
	return removeTree(root, dev, keep)
}

// removeTree empties dir, an open directory on device dev, but for the names in
// keep.
func removeTree(dir *os.File, dev uint64, keep []string) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	fd := int(dir.Fd())
	var errs []error
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			errs = append(errs, err)
			continue
		}
		if st.Dev != dev || slices.Contains(keep, name) {
			continue
		}
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := removeSubtree(fd, name, dev); err != nil {
				errs = append(errs, err)
				continue
			}
			flags = unix.AT_REMOVEDIR
		}
		// EBUSY and ENOTEMPTY: a mount of another file system is below.
		if err := unix.Unlinkat(fd, name, flags); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("delete %s of the initramfs: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func removeSubtree(parent int, name string, dev uint64) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	sub := os.NewFile(uintptr(fd), name)
	defer sub.Close()
	return removeTree(sub, dev, nil)
}
