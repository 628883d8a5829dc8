// Package vmtest boots a QEMU virtual machine and lets a Go program watch and
// drive it: the serial console with expectations, the typed event port and the
// kubeconfig port of KubeSolo OS, QMP for buttons and cables, and the power
// cut.
//
// It owns the QEMU process that it started and ends only that one. It never
// changes a disk it was told to snapshot, never sleeps for a fixed time, and
// never decides how long is too long: every wait takes the caller's limit and
// ends at once when the guest's kernel panics or QEMU exits. It is tested by
// booting the kernel of the small VM tier (test/small) and, where no kernel is
// needed, against QEMU's own firmware.
package vmtest
