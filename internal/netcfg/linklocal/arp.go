// Package linklocal gives a link an IPv4 address of 169.254/16 that nobody else
// on it uses (RFC 3927), so that a machine at the other end of a cable can reach
// this one when there is no DHCP server.
//
// It owns the choice of an address, the ARP probes and announcements, and the
// watch for somebody who uses the same one. It never configures the link: the
// address goes to the owner, who puts it there.
//
// Reading ARP is pure and fuzzed; the rest is tested over a veth pair against
// the ARP of the kernel.
package linklocal

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherARP   = 0x0806
	arpLen     = 28
	opRequest  = 1
	opReply    = 2
	hwEthernet = 1
	protoIPv4  = 0x0800
)

// arp is a message for Ethernet and IPv4 (RFC 826).
type arp struct {
	op               uint16
	senderMAC        [6]byte
	senderIP, target netip.Addr
}

// bytes is the message as the payload of a frame.
func (a arp) bytes() []byte {
	b := make([]byte, 0, arpLen)
	b = binary.BigEndian.AppendUint16(b, hwEthernet)
	b = binary.BigEndian.AppendUint16(b, protoIPv4)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, a.op)
	b = append(append(b, a.senderMAC[:]...), a.senderIP.AsSlice()...)
	b = append(b, make([]byte, 6)...) // asked for
	return append(b, a.target.AsSlice()...)
}

// parseARP reads a message; padding may follow. It is false for anything but
// a request or reply for IPv4 on Ethernet.
func parseARP(b []byte) (arp, bool) {
	if len(b) < arpLen || binary.BigEndian.Uint16(b) != hwEthernet || binary.BigEndian.Uint16(b[2:]) != protoIPv4 || b[4] != 6 || b[5] != 4 {
		return arp{}, false
	}
	a := arp{
		op: binary.BigEndian.Uint16(b[6:]), senderMAC: [6]byte(b[8:]),
		senderIP: netip.AddrFrom4([4]byte(b[14:])), target: netip.AddrFrom4([4]byte(b[24:])),
	}
	return a, a.op == opRequest || a.op == opReply
}

// takes reports whether the message shows that somebody else uses the address,
// or is probing for it at the same time (RFC 3927 §2.2.1).
func (a arp) takes(addr netip.Addr, own net.HardwareAddr) bool {
	if string(a.senderMAC[:]) == string(own) {
		return false
	}
	probe := a.op == opRequest && a.senderIP.IsUnspecified() && a.target == addr
	return a.senderIP == addr || probe
}

// candidate is the n-th address that this hardware tries: the same ones after
// each boot, so that people find the machine where it was. The first and last
// 256 of the range are reserved (RFC 3927 §2.1).
func candidate(own net.HardwareAddr, n uint32) netip.Addr {
	const first, count = 256, 65536 - 2*256
	h := uint32(2166136261) // FNV-1a
	for _, b := range binary.BigEndian.AppendUint32([]byte(own.String()), n) {
		h = (h ^ uint32(b)) * 16777619
	}
	v := first + (h>>16^h)%count
	return netip.AddrFrom4([4]byte{169, 254, byte(v >> 8), byte(v)})
}
