package audit

import (
	"strconv"
	"strings"
)

// setting is one kernel setting. min allows a stricter (greater) value.
type setting struct {
	key, want string
	min       bool
	// absent is why a kernel that has no such key is not worse; "" means that it is.
	absent    string
	why, from string
}

// settings are those of /etc/kubesolo-os/sysctl that protect the node, and the
// lockdown.
func settings() []Check {
	var out []Check
	for _, s := range settingTable() {
		want := s.want
		if s.min {
			want += " or more"
		}
		out = append(out, Check{Group: "kernel setting", Name: s.key, Source: s.path(), Want: want,
			Why: s.why, Reference: s.from, judge: s.judge})
	}
	return append(out, lockdownCheck())
}

func (s setting) path() string { return "/proc/sys/" + strings.ReplaceAll(s.key, ".", "/") }

func (s setting) judge(snapshot Snapshot) verdict {
	got, missing := snapshot.text(s.path())
	if missing != nil {
		if s.absent != "" {
			return verdict{state: Exempt, reason: s.absent}
		}
		return *missing
	}
	if got == s.want {
		return pass(got)
	}
	have, err := strconv.Atoi(got)
	want, _ := strconv.Atoi(s.want)
	if s.min && err == nil && have > want {
		return pass(got)
	}
	return fail(got, "set by something after ksinit, or by the sysctl section of cloud-init")
}

const noIPv6 = "the kernel was started without IPv6"

func settingTable() []setting {
	const kspp, cis, talos = "KSPP, Talos", "CIS", "Talos"
	t := []setting{
		{key: "kernel.kptr_restrict", want: "2", why: "addresses of the kernel are shown to nobody", from: kspp},
		{key: "kernel.dmesg_restrict", want: "1", why: "the kernel log needs CAP_SYSLOG", from: kspp},
		{key: "kernel.perf_event_paranoid", want: "3", min: true, why: "perf events, a rich source of kernel bugs, need a capability", from: kspp},
		{key: "kernel.randomize_va_space", want: "2", why: "address space layout is random, the heap too", from: kspp + ", CIS"},
		{key: "kernel.unprivileged_bpf_disabled", want: "1", min: true, why: "bpf(2) needs a capability", from: kspp},
		{key: "net.core.bpf_jit_harden", want: "2", why: "constants in BPF programs cannot be used as code", from: kspp},
		{key: "kernel.yama.ptrace_scope", want: "1", min: true, why: "a process can trace its descendants only; 2 would end debuggers in pods", from: "Bottlerocket; KSPP and Talos want 2"},
		{key: "kernel.kexec_load_disabled", want: "1", why: "no other kernel can be started from this one", from: "KSPP"},
		{key: "kernel.sysrq", want: "0", why: "keys and a break on the serial line cannot kill, dump or restart", from: "KSPP"},
		{key: "kernel.panic", want: "10", why: "a dead kernel restarts after 10 s", from: talos},
		{key: "kernel.panic_on_oops", want: "1", why: "a kernel that has failed does not go on", from: "KSPP, Bottlerocket"},
		{key: "dev.tty.ldisc_autoload", want: "0", why: "line disciplines are not loaded for whoever asks", from: kspp},
		{key: "dev.tty.legacy_tiocsti", want: "0", absent: "kernels before 6.2 have no switch; a container's terminal is its own", why: "nobody types into another's terminal", from: kspp},
		{key: "fs.protected_symlinks", want: "1", why: "links planted in /tmp are not followed", from: kspp},
		{key: "fs.protected_hardlinks", want: "1", why: "no hard link to a file of another user", from: kspp},
		{key: "fs.protected_fifos", want: "2", why: "no FIFO of another user is opened in /tmp", from: kspp},
		{key: "fs.protected_regular", want: "2", why: "no file of another user is opened for writing in /tmp", from: kspp},
		{key: "fs.suid_dumpable", want: "0", why: "no core of a program that changed its user", from: kspp + ", CIS"},
		{key: "vm.unprivileged_userfaultfd", want: "0", absent: "the kernel has no userfaultfd", why: "a page fault in the kernel cannot be held open, which exploits use to win races", from: kspp},
		{key: "vm.mmap_rnd_bits", want: "32", absent: "a 32-bit kernel", why: "as much randomness as the machine has", from: "KSPP"},
		{key: "vm.mmap_rnd_compat_bits", want: "16", absent: "no 32-bit programs on this kernel", why: "the same for 32-bit programs", from: "KSPP"},
		{key: "vm.mmap_min_addr", want: "65536", min: true, why: "a null pointer of the kernel points to nothing", from: "KSPP"},
		{key: "net.ipv4.tcp_syncookies", want: "1", why: "a flood of SYN does not keep clients out", from: "KSPP, CIS"},
		{key: "net.ipv4.tcp_rfc1337", want: "1", why: "a reset cannot end a socket in TIME-WAIT", from: "KSPP"},
		{key: "net.ipv4.icmp_echo_ignore_broadcasts", want: "1", why: "no part in amplified floods", from: "Talos, CIS"},
		{key: "net.ipv4.icmp_ignore_bogus_error_responses", want: "1", why: "no log filled from outside", from: "Talos, CIS"},
	}
	for _, each := range []struct{ name, want, why string }{
		{"accept_source_route", "0", "the sender does not choose the way of a packet"},
		{"accept_redirects", "0", "a neighbour cannot move our routes"},
		{"secure_redirects", "0", "the gateway cannot either"},
		{"send_redirects", "0", "pods are routed, and told nothing of it"},
	} {
		for _, scope := range []string{"all", "default"} {
			t = append(t, setting{key: "net.ipv4.conf." + scope + "." + each.name, want: each.want, why: each.why, from: cis})
		}
	}
	for _, name := range []string{"accept_source_route", "accept_redirects"} {
		for _, scope := range []string{"all", "default"} {
			t = append(t, setting{key: "net.ipv6.conf." + scope + "." + name, want: "0", absent: noIPv6, why: "the same for IPv6", from: cis})
		}
	}
	return t
}
