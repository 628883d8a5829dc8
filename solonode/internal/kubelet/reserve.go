package kubelet

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// Machine is what the node has in all.
type Machine struct {
	Memory  int64 // bytes
	Threads int64 // processes and threads that the kernel allows
}

// ThisMachine asks the kernel. A value that cannot be had is zero.
func ThisMachine() Machine {
	var m Machine
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	if text, err := os.ReadFile("/proc/sys/kernel/threads-max"); err == nil {
		m.Threads, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	return m
}

// Reserve is what is kept from all pods together: the kubelet makes it the limit
// of their common control group, so that a pod without limits that takes all
// there is ends by its own limit, and never brings the system to its knees
// first. What an operator reserved wins, resource by resource.
//
// Memory: the system of an idle node takes some 430 MiB (control plane 175,
// containerd, agent and shims 110, the root image 85, the kernel the rest), and
// the programs' pages need some place beside it: with 384 MiB a pod that filled
// a file system in memory had kubesolo read its own program again and again, for
// minutes, until probes failed. A small machine gives what it can spare: 5/8, at
// which CoreDNS and the provisioner still fit in 512 MiB.
// Processes: a quarter, at most 1000.
func (m Machine) Reserve(wanted map[string]string) map[string]string {
	reserved := map[string]string{}
	if m.Memory > 0 {
		reserved["memory"] = fmt.Sprintf("%dMi", min(m.Memory*5/8, 512*mib)/mib)
	}
	if m.Threads > 0 {
		reserved["pid"] = strconv.FormatInt(min(m.Threads/4, 1000), 10)
	}
	maps.Copy(reserved, wanted)
	return reserved
}

// PodPids is how many processes and threads one pod may have: a fork bomb ends
// there. A kernel allows some 3800 in 512 MiB and 7700 in 1 GiB; no pod may have
// more than a quarter.
func (m Machine) PodPids() int64 {
	if m.Threads <= 0 {
		return 1024
	}
	return max(256, min(m.Threads/4, 4096))
}
