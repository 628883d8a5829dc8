// Package mount owns everything PID 1 does with mount(2): the mount table as
// data, /proc/self/mountinfo, loop devices, the move from the initramfs to the
// system root, and the orderly unmount at shutdown.
//
// It never decides what is mounted where (that is a Table of its caller), never
// runs a helper program, and never formats or checks a file system.
//
// ParseInfo and Table.String are pure and tested as such, the parser by a fuzz
// test. The rest is tested by real mounts in a mount namespace.
package mount
