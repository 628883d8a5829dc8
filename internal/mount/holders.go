package mount

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a process that keeps a mount busy.
type Holder struct {
	PID     int
	Command string
	// Use is "root", "cwd", "fd", "map" or "mount" (in a mount namespace of its own).
	Use string
	// Path is the file it holds.
	Path string
}

func (h Holder) String() string {
	return fmt.Sprintf("%s[%d] (%s %s)", h.Command, h.PID, h.Use, h.Path)
}

// Holders lists processes that use the file system of m, one line each. It is
// for messages: processes come and go while it reads.
func Holders(m Info) []Holder {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	dev := unix.Mkdev(m.Major, m.Minor)
	var out []Holder
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if h, ok := holds(pid, dev, m); ok {
			out = append(out, h)
		}
	}
	return out
}

func holds(pid int, dev uint64, m Info) (Holder, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return Holder{}, false
	}
	h := Holder{PID: pid, Command: strings.TrimSpace(string(comm))}
	links := []string{"root", "cwd", "exe"}
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		links = append(links, "fd/"+fd.Name())
	}
	for _, l := range links {
		name := filepath.Join(dir, l)
		var st unix.Stat_t
		if unix.Stat(name, &st) != nil || st.Dev != dev {
			continue
		}
		h.Use, _, _ = strings.Cut(l, "/")
		h.Path, _ = os.Readlink(name)
		return h, true
	}
	if path, ok := mapped(dir, m); ok {
		h.Use, h.Path = "map", path
		return h, true
	}
	if mountsElsewhere(dir, m) {
		h.Use, h.Path = "mount", m.Target
		return h, true
	}
	return Holder{}, false
}

// mapped finds a mapped file of the device in /proc/PID/maps, whose fourth
// field is the device as hexadecimal major:minor.
func mapped(dir string, m Info) (string, bool) {
	maps, err := os.ReadFile(filepath.Join(dir, "maps"))
	if err != nil {
		return "", false
	}
	want := fmt.Sprintf(" %02x:%02x ", m.Major, m.Minor)
	for line := range bytes.SplitSeq(maps, []byte("\n")) {
		if !bytes.Contains(line, []byte(want)) {
			continue
		}
		if i := bytes.IndexByte(line, '/'); i >= 0 {
			return string(line[i:]), true
		}
	}
	return "", false
}

// mountsElsewhere tells whether the process lives in another mount namespace
// that still has the file system: a container that outlived its runtime.
func mountsElsewhere(dir string, m Info) bool {
	ours, err1 := os.Readlink("/proc/self/ns/mnt")
	theirs, err2 := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err1 != nil || err2 != nil || ours == theirs {
		return false
	}
	b, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
	if err != nil {
		return false
	}
	list, _ := ParseInfo(b)
	for _, i := range list {
		if i.Major == m.Major && i.Minor == m.Minor {
			return true
		}
	}
	return false
}

func holdersText(list []Holder) string {
	const most = 5
	if len(list) == 0 {
		return "the kernel (a loop device, swap or a nested mount)"
	}
	var parts []string
	for i, h := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		parts = append(parts, h.String())
	}
	return strings.Join(parts, ", ")
}
