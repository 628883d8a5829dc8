package audit

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Rights is what a service and all that it starts must do without.
type Rights struct {
	Service string
	// Without are the capabilities that are not in its bounding set.
	Without    []int
	NoNewPrivs bool
	Why        string
}

// ServiceRights are the rights of the services; ksinit's list of services is
// compared with it by a test there.
func ServiceRights() []Rights {
	return []Rights{
		{Service: "containerd", Without: []int{unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE},
			Why: "pods inherit the set, privileged ones too: none restarts the machine or brings code into the kernel; modules that are on the image are still loaded by the kernel itself"},
		{Service: "kubesolo", Without: []int{unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE, unix.CAP_SYS_TIME, unix.CAP_SYS_RAWIO, unix.CAP_MAC_ADMIN,
			unix.CAP_MAC_OVERRIDE, unix.CAP_SYS_PACCT, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND, unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ}, NoNewPrivs: true,
			Why: "Kubernetes mounts, routes and signals, but needs no clock, no hardware and no modules"},
		{Service: "ksagent", Without: []int{unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE,
			unix.CAP_SYS_PACCT, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND, unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ, unix.CAP_SETUID, unix.CAP_SETGID,
			unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_MKNOD, unix.CAP_SYS_CHROOT, unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_PERFMON}, NoNewPrivs: true,
			Why: "it sets the clock and reads the state of the node; it restarts nothing but by asking ksinit"},
	}
}

func services() []Check {
	var out []Check
	for _, r := range ServiceRights() {
		var names []string
		for _, c := range r.Without {
			names = append(names, capabilityName(c))
		}
		out = append(out, Check{Group: "service", Name: r.Service + ": capabilities", Source: "/proc/PID/status CapBnd",
			Want: "without " + strings.Join(names, " "), Why: r.Why, Reference: talosRights(r.Service), judge: r.bounding})
		if r.NoNewPrivs {
			out = append(out, Check{Group: "service", Name: r.Service + ": no_new_privs", Source: "/proc/PID/status NoNewPrivs",
				Want: "1", Why: "nothing that it starts gains rights", judge: r.noNewPrivs})
		}
	}
	return append(out, Check{Group: "service", Name: "pods: system call filter", Source: "/proc/PID/status Seccomp", Want: "2 (filter) in CoreDNS",
		Why: "pods that ask for nothing else get the runtime's default filter (kubelet: seccompDefault)", Reference: "CIS Kubernetes, Talos", judge: podFilter})
}

func talosRights(service string) string {
	if service == "containerd" {
		return "Talos"
	}
	return ""
}

// process finds a service's own process: its group also holds what it started.
func (s Snapshot) process(service string) (Process, bool) {
	i := slices.IndexFunc(s.Processes, func(p Process) bool { return p.Group == "/"+service && p.Name == service })
	if i < 0 {
		return Process{}, false
	}
	return s.Processes[i], true
}

func (r Rights) bounding(s Snapshot) verdict {
	p, ok := s.process(r.Service)
	if !ok {
		return fail("", "the service does not run")
	}
	var has []string
	for _, c := range r.Without {
		if p.Bounding&(1<<c) != 0 {
			has = append(has, capabilityName(c))
		}
	}
	got := fmt.Sprintf("%016x", p.Bounding)
	if len(has) > 0 {
		return fail(got, "has "+strings.Join(has, " "))
	}
	return pass(got)
}

func (r Rights) noNewPrivs(s Snapshot) verdict {
	p, ok := s.process(r.Service)
	switch {
	case !ok:
		return fail("", "the service does not run")
	case !p.NoNewPrivs:
		return fail("0", "not started by ksinit, or started as a bundled runtime, whose pods would inherit it")
	}
	return pass("1")
}

func podFilter(s Snapshot) verdict {
	for _, p := range s.Processes {
		if strings.HasPrefix(p.Group, podGroup) && p.Name == "coredns" {
			if p.Seccomp == 2 {
				return pass("2")
			}
			return fail(fmt.Sprint(p.Seccomp), "the kubelet did not ask for the runtime's filter")
		}
	}
	return fail("", "CoreDNS does not run")
}

// capabilityName is that of capabilities(7); only those that are asked about.
func capabilityName(c int) string {
	names := map[int]string{
		unix.CAP_SYS_BOOT: "SYS_BOOT", unix.CAP_SYS_MODULE: "SYS_MODULE", unix.CAP_SYS_TIME: "SYS_TIME", unix.CAP_SYS_RAWIO: "SYS_RAWIO",
		unix.CAP_MAC_ADMIN: "MAC_ADMIN", unix.CAP_MAC_OVERRIDE: "MAC_OVERRIDE", unix.CAP_SYS_PACCT: "SYS_PACCT", unix.CAP_WAKE_ALARM: "WAKE_ALARM",
		unix.CAP_BLOCK_SUSPEND: "BLOCK_SUSPEND", unix.CAP_AUDIT_CONTROL: "AUDIT_CONTROL", unix.CAP_AUDIT_READ: "AUDIT_READ",
		unix.CAP_SETUID: "SETUID", unix.CAP_SETGID: "SETGID", unix.CAP_SETPCAP: "SETPCAP", unix.CAP_SETFCAP: "SETFCAP", unix.CAP_MKNOD: "MKNOD",
		unix.CAP_SYS_CHROOT: "SYS_CHROOT", unix.CAP_NET_RAW: "NET_RAW", unix.CAP_BPF: "BPF", unix.CAP_PERFMON: "PERFMON",
	}
	if n, ok := names[c]; ok {
		return n
	}
	return fmt.Sprintf("capability %d", c)
}
