package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Info is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Info struct {
	ID, Parent   int
	Major, Minor uint32
	// Root is the path inside the file system that is mounted.
	Root   string
	Target string
	// Options are those of this mount, SuperOptions those of its file system.
	Options      []string
	Optional     []string // "shared:1", "master:2", "propagate_from:3", "unbindable"
	Type         string
	Source       string
	SuperOptions []string
}

// Has tells whether the mount, not its file system, has an option ("ro").
func (i Info) Has(option string) bool { return contains(i.Options, option) }

// Shared tells whether mounts below it propagate to peers.
func (i Info) Shared() bool {
	for _, o := range i.Optional {
		if strings.HasPrefix(o, "shared:") {
			return true
		}
	}
	return false
}

func contains(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// ParseInfo reads mountinfo. An error names the line; lines before it are
// returned.
func ParseInfo(b []byte) ([]Info, error) {
	var out []Info
	n := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		n++
		if line == "" {
			continue
		}
		i, err := parseInfoLine(line)
		if err != nil {
			return out, fmt.Errorf("mountinfo line %d: %w", n, err)
		}
		out = append(out, i)
	}
	return out, nil
}

func parseInfoLine(line string) (Info, error) {
	// Fields: id parent major:minor root target options optional... - type source superoptions
	f := strings.Split(line, " ")
	if len(f) < 9 {
		return Info{}, fmt.Errorf("%d fields, want at least 9", len(f))
	}
	dash := 6
	for dash < len(f) && f[dash] != "-" {
		dash++
	}
	// The source may be empty (a tmpfs mounted with source ""): two spaces.
	if len(f)-dash != 4 {
		return Info{}, fmt.Errorf("%d fields after the separator, want 3", max(len(f)-dash-1, 0))
	}
	var i Info
	var err error
	if i.ID, err = strconv.Atoi(f[0]); err != nil {
		return Info{}, fmt.Errorf("mount id %q is no number", f[0])
	}
	if i.Parent, err = strconv.Atoi(f[1]); err != nil {
		return Info{}, fmt.Errorf("parent id %q is no number", f[1])
	}
	major, minor, _ := strings.Cut(f[2], ":")
	ma, err1 := strconv.ParseUint(major, 10, 32)
	mi, err2 := strconv.ParseUint(minor, 10, 32)
	if err1 != nil || err2 != nil {
		return Info{}, fmt.Errorf("device %q is not major:minor", f[2])
	}
	i.Major, i.Minor = uint32(ma), uint32(mi)
	i.Root, i.Target = Unescape(f[3]), Unescape(f[4])
	i.Options = strings.Split(f[5], ",")
	i.Optional = f[6:dash:dash]
	i.Type, i.Source = Unescape(f[dash+1]), Unescape(f[dash+2])
	i.SuperOptions = strings.Split(f[dash+3], ",")
	return i, nil
}

// Unescape undoes the kernel's octal escapes of space, tab, newline, backslash
// and '#' (show_mountinfo, mangle).
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b = append(b, byte(v))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// List reads the mounts of this process.
func List() ([]Info, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return ParseInfo(b)
}

// At returns the topmost mount whose mount point is target; the error is
// os.ErrNotExist when nothing is mounted there.
func At(target string) (Info, error) {
	all, err := List()
	if err != nil {
		return Info{}, err
	}
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real
	}
	found := -1
	for i := range all {
		if all[i].Target != target {
			continue
		}
		// The topmost has the one below as its parent, or comes later.
		if found < 0 || all[i].Parent == all[found].ID || all[found].Parent != all[i].ID {
			found = i
		}
	}
	if found < 0 {
		return Info{}, fmt.Errorf("mount point %s: %w", target, os.ErrNotExist)
	}
	return all[found], nil
}
