package pods

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is the first process of a container as the kernel knows it. The zero
// value is one that it does not know: it hears everything and does not end.
type process struct {
	pid int
	fd  int // pidfd_open(2); 0 when there is none
}

// openProcess finds the process. A number that is not that of a process in the
// container's control group is another PID namespace's, or somebody else's by
// now.
func openProcess(id string, pid uint32) process {
	if pid == 0 {
		return process{}
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return process{}
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), id) {
		_ = unix.Close(fd) // nothing was written
		return process{}
	}
	return process{int(pid), fd}
}

func (p process) close() {
	if p.fd > 0 {
		_ = unix.Close(p.fd) // nothing was written
	}
}

// ended is true as soon as the process has exited, also before its parent, the
// shim, has noticed.
func (p process) ended() bool {
	if p.fd == 0 {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// hears tells whether the process has a handler for the signal, or takes it in
// another way (sigwait(3), signalfd(2)), for which it blocks it.
func (p process) hears(sig unix.Signal) bool {
	if p.fd == 0 {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return true // has ended
	}
	return takes(string(status), sig)
}

// takes reads the sets of signals in a /proc/PID/status.
func takes(status string, sig unix.Signal) bool {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigBlk" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || set>>(sig-1)&1 == 1 {
			return true
		}
	}
	return false
}
