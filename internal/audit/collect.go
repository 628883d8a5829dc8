package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
)

// socketsRead marks in Texts that the lists of sockets could be read.
const socketsRead = "/proc/1/net"

// Collector reads the state of a machine. The zero value reads this one; it
// needs root and PID 1 of the machine in /proc, so a container has to see the
// host's (hostPID).
type Collector struct {
	// Root is put before every path, for a program whose root is another
	// than the node's.
	Root string
}

// Collect reads what Evaluate wants to know. It never fails: what cannot be
// read is said in the snapshot, where the checks that need it find it.
func (c Collector) Collect() Snapshot {
	s := Snapshot{Texts: map[string]string{}, Errors: map[string]string{}}
	for _, setting := range settingTable() {
		c.text(&s, setting.path())
	}
	c.text(&s, cmdlineFile)
	c.text(&s, lockdownFile)
	c.mounts(&s)
	processes := c.processes()
	c.sockets(&s, processes)
	for _, p := range processes {
		if p.isService() || (strings.HasPrefix(p.Group, podGroup) && p.Name != "pause") {
			p.Sockets = nil
			s.Processes = append(s.Processes, p)
		}
	}
	c.files(&s)
	return s
}

func (c Collector) path(p string) string { return filepath.Join(c.Root, p) }

func (c Collector) text(s *Snapshot, path string) {
	b, err := os.ReadFile(c.path(path))
	if err != nil {
		s.Errors[path] = explain(err)
		return
	}
	s.Texts[path] = strings.TrimSpace(string(b))
}

func explain(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "not in this kernel"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read: run the audit as root"
	}
	return err.Error()
}

func (c Collector) mounts(s *Snapshot) {
	b, err := os.ReadFile(c.path(mountinfo))
	if err == nil {
		s.Mounts, err = mount.ParseInfo(b)
	}
	if err != nil {
		s.Errors[mountinfo] = explain(err)
	}
}

// files looks at the places of secrets. A link is not followed: what it points
// to is looked at where it is.
func (c Collector) files(s *Snapshot) {
	for _, place := range secrets() {
		_ = filepath.WalkDir(c.path(place.path), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil // gone meanwhile, or never there: the check says so
			}
			path := "/" + strings.TrimPrefix(strings.TrimPrefix(name, c.Root), "/")
			if !place.covers(path) || entry.Type()&fs.ModeSymlink != 0 {
				if len(place.suffixes) == 0 && entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			var st unix.Stat_t
			if unix.Lstat(name, &st) == nil {
				s.Files = append(s.Files, File{Path: path, Mode: fs.FileMode(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid})
			}
			if len(place.suffixes) == 0 && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		})
	}
	s.Texts[filesRead] = "read"
}
