// Package audit compares what a running node is like with what it promises to
// be: kernel settings, kernel arguments, mounts, rights of the services, pods'
// system call filter, listening sockets and modes of files.
//
// It owns the list of checks, which docs/hardening.md prints, and the list of
// what is left as it is on purpose, each with its reason. Collect is the seam to
// the kernel; Evaluate is pure and knows only a Snapshot. It never changes
// anything: settings are made by ksinit, by the boot menus and by the
// programs themselves, and tests here compare the list with those. Tested with
// snapshots of a real node, whole and broken in one place at a time, and by
// collecting from the kernel the test runs on.
package audit
