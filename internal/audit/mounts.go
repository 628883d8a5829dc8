package audit

import (
	"slices"
	"strings"

	"kubesolo.io/os/internal/mount"
)

const mountinfo = "/proc/1/mountinfo"

// mounts judges the mounts of PID 1's namespace, but not those that containerd,
// the kubelet and CNI make for pods: an image decides what is in those, and the
// container's own flags what it may do with it.
func mounts() []Check {
	check := func(name, want, why string, judge func(Snapshot) verdict) Check {
		return Check{Group: "mount", Name: name, Source: mountinfo, Want: want, Why: why, Reference: "Talos", judge: judge}
	}
	return []Check{
		check("root is read-only", "squashfs, ro", "what runs is what was built; a restart removes whatever was changed in memory", rootReadOnly),
		check("nosuid", "every mount", "no program gains rights by its file's mode", func(s Snapshot) verdict {
			return every(s, func(m mount.Info) bool { return m.Has("nosuid") })
		}),
		check("nodev", "every mount but /dev and /dev/pts", "no device file outside /dev", func(s Snapshot) verdict {
			return every(s, func(m mount.Info) bool {
				return m.Has("nodev") || m.Type == "devtmpfs" || m.Type == "devpts"
			})
		}),
		check("noexec", "every writable mount but "+strings.Join(executable(), " "),
			"what was written cannot be run; images and volumes of pods live in the exceptions", func(s Snapshot) verdict {
				return every(s, func(m mount.Info) bool {
					return m.Has("noexec") || m.Has("ro") || slices.Contains(executable(), m.Target)
				})
			}),
	}
}

// executable are the writable mounts from which programs of pods run.
func executable() []string {
	return []string{"/run", "/var", "/data", "/var/lib/kubesolo", "/var/lib/containerd"}
}

func rootReadOnly(s Snapshot) verdict {
	// The topmost mount at / is the last one listed.
	for _, m := range slices.Backward(s.Mounts) {
		if m.Target != "/" {
			continue
		}
		got := m.Type + "," + strings.Join(m.Options, ",")
		if m.Type == "squashfs" && m.Has("ro") {
			return pass(got)
		}
		return fail(got, "not started from the system's image")
	}
	return fail("", "no root in "+mountinfo)
}

// every names the mounts of ours that do not hold.
func every(s Snapshot, holds func(mount.Info) bool) verdict {
	var bad []string
	looked := 0
	for _, m := range s.Mounts {
		if ofPods(m.Target) || m.Type == "rootfs" {
			continue
		}
		looked++
		if !holds(m) && !slices.Contains(bad, m.Target) {
			bad = append(bad, m.Target)
		}
	}
	switch {
	case looked == 0:
		return fail("", "no mounts in "+mountinfo)
	case len(bad) > 0:
		return fail("not "+strings.Join(bad, " "), "mounted without it")
	}
	return pass("all")
}

func ofPods(target string) bool {
	for _, dir := range []string{"/run/containerd/", "/run/netns/", "/var/run/netns/", "/run/kubesolo/", "/var/lib/kubesolo/", "/var/lib/containerd/", "/data/"} {
		if strings.HasPrefix(target, dir) {
			return true
		}
	}
	return false
}
