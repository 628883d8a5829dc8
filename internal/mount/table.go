package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one mount. Flags are MS_* values of mount(2); an entry may name a
// bind together with the flags it wants (MS_BIND|MS_RDONLY|MS_NODEV) and a
// propagation (MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, with MS_REC):
// Apply makes the two or three calls the kernel needs for it.
type Entry struct {
	Source string
	Target string
	// Type is the file system type; empty for binds, moves, remounts and for
	// entries that only set a propagation.
	Type  string
	Flags uintptr
	Data  string
	// Mode is the mode of Target when Apply has to make it; 0 means 0755.
	Mode fs.FileMode
	// Optional entries degrade the boot instead of ending it.
	Optional bool
}

// Table is a list of mounts in the order in which they are made.
type Table []Entry

const propagation = unix.MS_SHARED | unix.MS_SLAVE | unix.MS_PRIVATE | unix.MS_UNBINDABLE

// perMount are the flags that a bind can have of its own (mount_setattr(2)
// calls them attributes); a remount of a bind replaces all of them at once.
const perMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NOSYMFOLLOW

// flagNames is in the order in which String prints.
func flagNames() []struct {
	flag uintptr
	name string
} {
	return []struct {
		flag uintptr
		name string
	}{
		{unix.MS_REMOUNT, "remount"}, {unix.MS_MOVE, "move"}, {unix.MS_BIND, "bind"},
		{unix.MS_RDONLY, "ro"}, {unix.MS_NOSUID, "nosuid"}, {unix.MS_NODEV, "nodev"},
		{unix.MS_NOEXEC, "noexec"}, {unix.MS_NOSYMFOLLOW, "nosymfollow"},
		{unix.MS_NOATIME, "noatime"}, {unix.MS_NODIRATIME, "nodiratime"},
		{unix.MS_RELATIME, "relatime"}, {unix.MS_STRICTATIME, "strictatime"},
		{unix.MS_LAZYTIME, "lazytime"}, {unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"},
		{unix.MS_MANDLOCK, "mand"}, {unix.MS_SILENT, "silent"}, {unix.MS_REC, "rec"},
		{unix.MS_SHARED, "shared"}, {unix.MS_SLAVE, "slave"}, {unix.MS_PRIVATE, "private"},
		{unix.MS_UNBINDABLE, "unbindable"},
	}
}

// Options prints flags and data as mount(8) options, "rw" when there are none.
func (e Entry) Options() string {
	var out []string
	left := e.Flags
	for _, f := range flagNames() {
		if left&f.flag != 0 {
			out = append(out, f.name)
			left &^= f.flag
		}
	}
	if left != 0 {
		out = append(out, fmt.Sprintf("%#x", left))
	}
	if e.Data != "" {
		out = append(out, e.Data)
	}
	if len(out) == 0 {
		return "rw"
	}
	return strings.Join(out, ",")
}

// String is one line: target, type, options, source, "optional".
func (e Entry) String() string {
	kind := e.Type
	if kind == "" {
		kind = "-"
	}
	source := e.Source
	if source == "" {
		source = "-"
	}
	s := fmt.Sprintf("%-22s %-9s %-40s %s", e.Target, kind, e.Options(), source)
	if e.Optional {
		s += " optional"
	}
	return s
}

// String is the table, one entry a line.
func (t Table) String() string {
	var b strings.Builder
	for _, e := range t {
		b.WriteString(e.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Apply makes the mounts in order. It stops at the first entry that fails and
// is not Optional and returns that as fatal; optional entries that fail are
// joined in degraded. Applying a table of pseudo file systems twice is no error.
func (t Table) Apply() (degraded, fatal error) {
	var soft []error
	for _, e := range t {
		err := e.Apply()
		switch {
		case err == nil:
		case e.Optional:
			soft = append(soft, err)
		default:
			return errors.Join(soft...), err
		}
	}
	return errors.Join(soft...), nil
}

// Apply makes one mount, and its target when that is missing: a directory, or
// an empty file when a file is bound.
func (e Entry) Apply() error {
	if err := e.apply(); err != nil {
		return fmt.Errorf("mount %s (%s %s from %s): %w", e.Target, orDash(e.Type), e.Options(), orDash(e.Source), err)
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (e Entry) apply() error {
	own := e.Flags &^ propagation
	prop := e.Flags & propagation
	switch {
	case own&^unix.MS_REC == 0 && e.Type == "" && e.Source == "":
		// Only the propagation changes.
	case own&unix.MS_REMOUNT != 0:
		if err := unix.Mount("", e.Target, "", own, e.Data); err != nil {
			return err
		}
	case own&unix.MS_MOVE != 0:
		if err := makeTarget(e); err != nil {
			return err
		}
		if err := unix.Mount(e.Source, e.Target, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	case own&unix.MS_BIND != 0:
		if err := e.bind(own); err != nil {
			return err
		}
	default:
		if prop != 0 {
			own &^= unix.MS_REC // it belongs to the propagation
		}
		if err := e.mountNew(own); err != nil {
			return err
		}
	}
	if prop != 0 {
		return unix.Mount("", e.Target, "", prop|e.Flags&unix.MS_REC, "")
	}
	return nil
}

// bind needs a second call for its flags: MS_BIND ignores every flag but
// MS_REC, so a one-call "read-only bind" is silently writable.
func (e Entry) bind(own uintptr) error {
	if err := makeTarget(e); err != nil {
		return err
	}
	if err := unix.Mount(e.Source, e.Target, "", unix.MS_BIND|own&unix.MS_REC, ""); err != nil {
		return err
	}
	flags := own & perMount
	if flags == 0 {
		return nil
	}
	if err := unix.Mount("", e.Target, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		// Never leave the target with less protection than was asked for.
		return errors.Join(err, unix.Unmount(e.Target, unix.MNT_DETACH))
	}
	return nil
}

// mountNew treats EBUSY as "there already": the kernel refuses a file system on
// top of itself, and it mounts devtmpfs by itself with CONFIG_DEVTMPFS_MOUNT.
// The flags are then set on what is there.
func (e Entry) mountNew(own uintptr) error {
	if err := makeTarget(e); err != nil {
		return err
	}
	err := unix.Mount(e.Source, e.Target, e.Type, own, e.Data)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	there, infoErr := At(e.Target)
	if infoErr != nil {
		return errors.Join(err, infoErr)
	}
	if there.Type != e.Type {
		return fmt.Errorf("%w: %s is mounted there", err, there.Type)
	}
	return unix.Mount("", e.Target, "", unix.MS_REMOUNT|unix.MS_BIND|own&perMount, "")
}

func makeTarget(e Entry) error {
	if _, err := os.Stat(e.Target); err == nil {
		return nil
	}
	mode := e.Mode
	if mode == 0 {
		mode = 0o755
	}
	if e.Flags&unix.MS_BIND != 0 {
		st, err := os.Stat(e.Source)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return makeFile(e.Target)
		}
	}
	if err := os.MkdirAll(e.Target, 0o755); err != nil {
		return err
	}
	return os.Chmod(e.Target, mode) // not subject to the umask
}

func makeFile(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
