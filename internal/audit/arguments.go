package audit

import (
	"slices"
	"strings"
)

// Files that say how the kernel was started.
const (
	cmdlineFile  = "/proc/cmdline"
	lockdownFile = "/sys/kernel/security/lockdown"
)

// Arguments are the kernel arguments that protect the node, as the boot menus
// give them.
func Arguments() []string {
	var out []string
	for _, a := range argumentTable() {
		out = append(out, a.word)
	}
	return out
}

type argument struct{ word, why, from string }

func argumentTable() []argument {
	return []argument{
		{"slab_nomerge", "objects of different kinds do not share a slab: an overflow of one does not reach the other", "KSPP, Talos"},
		{"init_on_alloc=1", "memory of the kernel is zeroed before it is used", "KSPP, Talos"},
		{"page_alloc.shuffle=1", "the order of free pages cannot be guessed", "KSPP"},
		{"randomize_kstack_offset=on", "the kernel's stack begins elsewhere at each system call", "KSPP"},
		{"vsyscall=none", "no code at an address that is the same on every machine", "KSPP"},
	}
}

func arguments() []Check {
	var out []Check
	for _, a := range argumentTable() {
		out = append(out, Check{Group: "kernel argument", Name: a.word, Source: cmdlineFile, Want: "given",
			Why: a.why, Reference: a.from, judge: a.judge})
	}
	return out
}

func lockdownCheck() Check {
	return Check{Group: "kernel setting", Name: "lockdown", Source: lockdownFile, Want: "integrity or confidentiality",
		Why:       "not even root changes the running kernel: no unsigned module, no /dev/mem, no writing of kernel memory by BPF",
		Reference: "Bottlerocket", judge: lockdown}
}

func (a argument) judge(s Snapshot) verdict {
	line, missing := s.text(cmdlineFile)
	if missing != nil {
		return *missing
	}
	name, _, _ := strings.Cut(a.word, "=")
	// The last of several wins, as it does in the kernel.
	words := strings.Fields(line)
	slices.Reverse(words)
	for _, w := range words {
		switch n, _, _ := strings.Cut(w, "="); {
		case w == a.word:
			return pass("given")
		case n == name:
			return fail(w, "the boot entry says otherwise")
		}
	}
	return fail("not given", "not started by the entries of the boot menu")
}

// lockdown reads "none [integrity] confidentiality".
func lockdown(s Snapshot) verdict {
	text, missing := s.text(lockdownFile)
	if missing != nil {
		missing.reason += ": the kernel has no lockdown (CONFIG_SECURITY_LOCKDOWN_LSM)"
		return *missing
	}
	for _, w := range strings.Fields(text) {
		if level, ok := strings.CutPrefix(w, "["); ok {
			level = strings.TrimSuffix(level, "]")
			if level == "integrity" || level == "confidentiality" {
				return pass(level)
			}
			return fail(level, "ksinit found modules that are not signed, or the kernel was started with lockdown=none; the line 'lockdown' of the boot says which")
		}
	}
	return fail(text, "the kernel marks no level")
}
