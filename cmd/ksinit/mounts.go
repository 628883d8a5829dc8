package main

import (
	"io/fs"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
)

const (
	quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	plain = unix.MS_NOSUID | unix.MS_NODEV
)

// earlyMounts are what the initramfs needs; they move on into the system root.
func earlyMounts() mount.Table {
	return mount.Table{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: quiet},
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0755"},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: quiet},
	}
}

// systemMounts are the kernel's file systems and what is in memory. They are
// mounted before anything else of the system; / is shared because kubelet's
// mounts in pods must be seen by containerd and the other way round.
func systemMounts() mount.Table {
	return append(earlyMounts(), mount.Table{
		{Target: "/", Flags: unix.MS_SHARED | unix.MS_REC},
		{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0620,gid=5,ptmxmode=0666"},
		{Source: "tmpfs", Target: "/dev/shm", Type: "tmpfs", Flags: quiet, Data: "mode=1777"},
		{Source: "mqueue", Target: "/dev/mqueue", Type: "mqueue", Flags: quiet, Optional: true},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: plain, Data: "mode=0755"},
		// Programs run from /tmp in no service of ours.
		{Source: "tmpfs", Target: "/tmp", Type: "tmpfs", Flags: quiet, Data: "mode=1777"},
		{Source: "tmpfs", Target: "/var", Type: "tmpfs", Flags: plain, Data: "mode=0755"},
		{Source: "tmpfs", Target: "/etc/cni/net.d", Type: "tmpfs", Flags: quiet, Data: "mode=0755,size=1m"},
		{Source: "cgroup2", Target: "/sys/fs/cgroup", Type: "cgroup2", Flags: quiet, Data: "nsdelegate,memory_recursiveprot", Optional: true},
	}...)
}

// kernelViews show the kernel to tools and pods; no step needs them. The
// kernel's bpf starts modprobe when it is mounted: 0.2 s under emulation.
func kernelViews() mount.Table {
	return mount.Table{
		{Source: "bpf", Target: "/sys/fs/bpf", Type: "bpf", Flags: quiet, Data: "mode=0700", Optional: true},
		{Source: "securityfs", Target: "/sys/kernel/security", Type: "securityfs", Flags: quiet, Optional: true},
		{Source: "debugfs", Target: "/sys/kernel/debug", Type: "debugfs", Flags: quiet, Data: "mode=0700", Optional: true},
		{Source: "tracefs", Target: "/sys/kernel/tracing", Type: "tracefs", Flags: quiet, Data: "mode=0700", Optional: true},
	}
}

// dataDir is where the data partition is mounted.
const dataDir = "/data"

// dataBinds put directories of the data partition where programs look for
// them. Volumes and images of pods run from the first two. /etc/kubesolo holds
// passwords (registries, cloud-init's extra-env): its directory is closed, as
// files that an operator puts there rarely are.
func dataBinds() mount.Table {
	var t mount.Table
	for _, b := range []struct {
		dir, target string
		flags       uintptr
		mode        fs.FileMode
	}{
		{"kubesolo", "/var/lib/kubesolo", plain, 0o700},
		{"containerd", "/var/lib/containerd", plain, 0},
		{"etc-kubesolo", "/etc/kubesolo", quiet, 0o700},
		{"network", "/var/lib/network", quiet, 0},
		{"log", "/var/log", quiet, 0},
		{"update", "/var/lib/update", quiet, 0},
	} {
		t = append(t, mount.Entry{Source: dataDir + "/" + b.dir, Target: b.target, Flags: unix.MS_BIND | b.flags, Mode: b.mode})
	}
	return t
}

// bundledMounts let a KubeSolo that brings its own containerd write its
// programs where it wants them.
func bundledMounts() mount.Table {
	var t mount.Table
	for _, target := range []string{"/usr/local", "/opt/cni"} {
		upper := dataDir + "/usr-local" + target
		t = append(t, mount.Entry{Source: "overlay", Target: target, Type: "overlay", Flags: plain,
			Data: "lowerdir=" + target + ",upperdir=" + upper + "/upper,workdir=" + upper + "/work"})
	}
	return t
}
