package main

import (
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/supervise"
)

// The rights of the services. docs/hardening.md gives the reasons; its list of
// checks, package audit, is compared with these by a test.

// runtimeRights are those of whoever starts pods: a privileged pod has all that
// is left here, and a setuid program in a pod works. SYS_TIME and SYS_RAWIO stay,
// as pods with clocks (PTP, GPS) and devices need them.
func runtimeRights() supervise.Rights {
	return supervise.Rights{Without: supervise.Without(unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE)}
}

func engineRights() supervise.Rights {
	return supervise.Rights{NoNewPrivs: true, Without: supervise.Without(
		unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE, unix.CAP_SYS_TIME, unix.CAP_SYS_RAWIO, unix.CAP_MAC_ADMIN,
		unix.CAP_MAC_OVERRIDE, unix.CAP_SYS_PACCT, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND,
		unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ)}
}

// agentRights keep SYS_TIME (it sets the clock), SYS_PTRACE and DAC_* (it looks
// at other services), SYS_ADMIN and NET_ADMIN.
func agentRights() supervise.Rights {
	return supervise.Rights{NoNewPrivs: true, Without: supervise.Without(
		unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE,
		unix.CAP_SYS_PACCT, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND, unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ,
		unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_MKNOD, unix.CAP_SYS_CHROOT,
		unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_PERFMON)}
}
