package audit

import (
	"io/fs"
	"net/netip"

	"kubesolo.io/os/internal/mount"
)

// A Snapshot is what Collect saw, and all that Evaluate knows.
type Snapshot struct {
	// Texts are the contents of small files of the kernel, by path, without
	// the white space around them. What could not be read is in Errors.
	Texts     map[string]string `json:"texts"`
	Errors    map[string]string `json:"errors,omitempty"`
	Mounts    []mount.Info      `json:"mounts"`
	Processes []Process         `json:"processes"`
	Sockets   []Socket          `json:"sockets"`
	Files     []File            `json:"files"`
}

// A Process is a service, or the first process of a container.
type Process struct {
	PID   int    `json:"pid"`
	Name  string `json:"name"`  // proc_pid_comm(5)
	Group string `json:"group"` // its control group: /containerd, /kubepods/...
	// Bounding is the bounding set, one bit a capability (capabilities(7)).
	Bounding   uint64 `json:"bounding"`
	NoNewPrivs bool   `json:"noNewPrivs"`
	Seccomp    int    `json:"seccomp"` // 0 none, 2 filter
	// Sockets are the inodes of the sockets it holds.
	Sockets []uint64 `json:"sockets,omitempty"`
}

// A Socket takes what comes from outside the process: a TCP socket that
// listens, a UDP socket that is not connected to one peer.
type Socket struct {
	Protocol string         `json:"protocol"` // tcp, udp; of both IP versions
	Address  netip.AddrPort `json:"address"`
	// Owner is the name of the process, "pod" for one of a container, ""
	// when none could be found.
	Owner string `json:"owner"`
	Inode uint64 `json:"inode,omitempty"`
}

// A File is something whose mode matters.
type File struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"` // permission bits
	UID  uint32      `json:"uid"`
	GID  uint32      `json:"gid"`
}

// text reads a file of the snapshot; a verdict is given when it is not there.
func (s Snapshot) text(path string) (string, *verdict) {
	if t, ok := s.Texts[path]; ok {
		return t, nil
	}
	reason := s.Errors[path]
	if reason == "" {
		reason = "not read"
	}
	v := fail("", reason)
	return "", &v
}
