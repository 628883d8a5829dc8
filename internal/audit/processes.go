package audit

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// podGroup is the control group of all pods, podOwner the owner of their sockets.
const (
	podGroup = "/kubepods"
	podOwner = "pod"
)

func (p Process) isService() bool {
	return slices.ContainsFunc(ServiceRights(), func(r Rights) bool { return p.Group == "/"+r.Service && p.Name == r.Service })
}

// owner is how a socket's owner is named.
func (p Process) owner() string {
	if strings.HasPrefix(p.Group, podGroup) {
		return podOwner
	}
	return p.Name
}

// processes reads all processes that have a program; those that end meanwhile
// are left out.
func (c Collector) processes() []Process {
	dirs, err := filepath.Glob(c.path("/proc/[0-9]*"))
	if err != nil {
		return nil
	}
	var out []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		p, err := parseStatus(string(status))
		if err != nil {
			continue
		}
		p.PID = pid
		if group, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
			p.Group = parseGroup(string(group))
		}
		p.Sockets = heldSockets(filepath.Join(dir, "fd"))
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// parseStatus reads /proc/PID/status (proc_pid_status(5)).
func parseStatus(text string) (Process, error) {
	var p Process
	seen := false
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Name":
			p.Name = value
		case "CapBnd":
			p.Bounding, err = strconv.ParseUint(value, 16, 64)
			seen = err == nil
		case "NoNewPrivs":
			p.NoNewPrivs = value == "1"
		case "Seccomp":
			p.Seccomp, err = strconv.Atoi(value)
		}
		if err != nil {
			return Process{}, fmt.Errorf("process status: %s %q: %w", key, value, err)
		}
	}
	if !seen || p.Name == "" {
		return Process{}, fmt.Errorf("process status: no name or no bounding set in %d bytes", len(text))
	}
	return p, nil
}

// parseGroup gives the path in the one hierarchy of version 2 (cgroups(7)).
func parseGroup(text string) string {
	for line := range strings.Lines(text) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return group
		}
	}
	return ""
}

func heldSockets(fd string) []uint64 {
	entries, err := os.ReadDir(fd)
	if err != nil {
		return nil
	}
	var out []uint64
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(fd, e.Name()))
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
			out = append(out, inode)
		}
	}
	return out
}

// sockets reads those of PID 1's network namespace.
func (c Collector) sockets(s *Snapshot, processes []Process) {
	owners := map[uint64]string{}
	for _, p := range processes {
		for _, inode := range p.Sockets {
			// PID 1 may hold a socket that it hands on; the other is the owner.
			if owners[inode] == "" || p.PID != 1 {
				owners[inode] = p.owner()
			}
		}
	}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(c.path(socketsRead + "/" + name))
		if err != nil && name != "tcp6" && name != "udp6" { // a kernel without IPv6
			s.Errors[socketsRead] = explain(err)
			return
		}
		found, err := parseSockets(strings.TrimSuffix(name, "6"), string(b))
		if err != nil {
			s.Errors[socketsRead] = err.Error()
			return
		}
		for _, socket := range found {
			socket.Owner = owners[socket.Inode]
			s.Sockets = append(s.Sockets, socket)
		}
	}
	s.Texts[socketsRead] = "read"
}

// States of a socket in /proc/net (include/net/tcp_states.h).
const (
	tcpListen = "0A"
	udpOpen   = "07" // not connected
)

// parseSockets reads /proc/net/tcp and its like (proc_net_tcp documentation of
// the kernel), those only that take what anybody sends.
func parseSockets(protocol, text string) ([]Socket, error) {
	var out []Socket
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		if n == 1 || len(f) == 0 {
			continue // the heading
		}
		if len(f) < 10 {
			return out, fmt.Errorf("%s sockets, line %d: %d fields, want 10 or more", protocol, n, len(f))
		}
		if (protocol == "tcp" && f[3] != tcpListen) || (protocol == "udp" && f[3] != udpOpen) {
			continue
		}
		address, err := parseAddress(f[1])
		if err != nil {
			return out, fmt.Errorf("%s sockets, line %d: %w", protocol, n, err)
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return out, fmt.Errorf("%s sockets, line %d: inode %q is no number", protocol, n, f[9])
		}
		out = append(out, Socket{Protocol: protocol, Address: address, Inode: inode})
	}
	return out, nil
}

// parseAddress reads "0100007F:192B": words of 32 bits in the machine's byte
// order, which is little-endian here, and the port.
func parseAddress(text string) (netip.AddrPort, error) {
	words, port, ok := strings.Cut(text, ":")
	if !ok || (len(words) != 8 && len(words) != 32) {
		return netip.AddrPort{}, fmt.Errorf("address %q is not 8 or 32 hexadecimal digits and a port", text)
	}
	var b []byte
	for i := 0; i < len(words); i += 8 {
		word, err := strconv.ParseUint(words[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
		}
		b = append(b, byte(word), byte(word>>8), byte(word>>16), byte(word>>24))
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	address, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(address, uint16(number)), nil
}
