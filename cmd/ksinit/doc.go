// Command ksinit is PID 1 of KubeSolo OS, first in the initramfs and then, by
// executing itself, in the system root.
//
// It owns the order of the boot (plan.go), what is mounted where (mounts.go),
// which services run (services.go), what is said on the console, what is known of
// the boot before (lastboot.go), and the way down (shutdown.go). It wires packages and never parses a protocol, links a
// TLS or gRPC library, or runs a helper program to boot: deps_test.go checks
// that. A panic in any goroutine of PID 1 is a kernel panic, so each has a
// recover.
//
// `ksinit -plan` prints steps, mounts and services; docs/boot.md and a golden
// file are checked against it. The tests run the real binary as PID 1 of a PID
// namespace.
//
// By its other names it is modprobe, poweroff, reboot, halt and shutdown.
package main
