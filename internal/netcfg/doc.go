// Package netcfg says what the network of this node should be, and which
// steps lead there.
//
// It owns the typed configuration ([Config]), the snapshot of what the kernel
// has ([State]), the concrete target for the links that exist ([Resolve] makes
// a [Want]) and the difference of the two as a list of printable steps
// ([Diff] makes []Op). All of that is pure. [Converge] runs the steps through
// a [Kernel] until nothing is left to do.
//
// It never opens a socket, never reads a file, and never asks for the removal
// of an address or route that this program did not make: routes are told apart
// by their protocol tag (rtnetlink(7), RTPROT_DHCP and RTPROT_STATIC),
// addresses by the [Addr.Ours] mark that the kernel seam sets.
//
// Tests: Diff is checked by a property test against a model of the kernel
// (apply, then nothing is left), the real kernel in netcfg/kernel over veth
// pairs in a network namespace.
package netcfg
