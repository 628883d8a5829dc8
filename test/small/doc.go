// Package small is the small VM tier: it runs the TestVM... tests of the
// packages that need a kernel of ours inside one QEMU machine, and boots the
// real ksinit with a tiny root to see how it ends. It also cuts the power under
// the datastore of the node, many times, and fills the disk under it; and it cuts
// the power in updates, at every step.
//
// It owns the tiny initramfs and the list of packages. It never repeats a test
// that the namespace tier can hold. The tests are its only content:
//
//	go test ./test/small
package small
