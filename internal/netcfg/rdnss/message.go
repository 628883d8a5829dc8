// Package rdnss keeps what IPv6 routers say about names: name servers (RDNSS)
// and search domains (DNSSL), RFC 8106.
//
// It owns the reading of these options, their lifetimes, and what several
// routers on several links add up to. It opens no socket: the kernel receives
// the advertisements and passes on such options by rtnetlink, on links where it
// listens to routers at all (accept_ra); the messages come from netcfg/kernel.
// Nothing is kept over a reboot.
//
// Reading is pure and fuzzed; lifetimes are tested in virtual time, the kernel's
// messages in netcfg/kernel, dnsmasq as a router in netcfg/manager.
package rdnss

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kubesolo.io/os/internal/netcfg"
)

// The kernel's message (struct nduseroptmsg, include/uapi/linux/rtnetlink.h) in
// the byte order of the machine: family, pad, u16 length of the options, s32
// link, u8 type and u8 code of the ICMPv6 message, padding; then the options,
// then attributes.
const (
	headerSize        = 16
	familyIPv6        = 10
	typeAdvertisement = 134
	attrSource        = 1 // NDUSEROPT_SRCADDR
	attrHeaderSize    = 4
)

// Options (RFC 8106 §5); their length counts units of 8 bytes.
const (
	optRDNSS   = 25
	optDNSSL   = 31
	optionUnit = 8
)

// Bounds on what routers may say.
const (
	// maxList is for servers and for domains of an option, maxEntries for those
	// of all routers of a link; resolv.conf takes 3 and 6.
	maxList    = 8
	maxEntries = 32
	// maxLifetime stands for "for ever" too. A router that is there says so
	// again within 65535 s at the latest (RFC 8319 §4).
	maxLifetime = 7 * 24 * time.Hour
)

// advertisement is one message. The kernel sends each option in one of its own.
type advertisement struct {
	link    int
	router  netip.Addr
	options []option
}

// option has either servers or domains.
type option struct {
	lifetime time.Duration // 0: they are no longer to be used
	servers  []netip.Addr
	domains  []string
}

// parse reads the body of an RTM_NEWNDUSEROPT message. Options that are not
// about names are left out, and so are servers and domains that cannot be used.
func parse(b []byte) (advertisement, error) {
	if len(b) < headerSize {
		return advertisement{}, fmt.Errorf("a message of %d bytes has no header", len(b))
	}
	if b[0] != familyIPv6 || b[8] != typeAdvertisement {
		return advertisement{}, fmt.Errorf("family %d, type %d: not a router advertisement", b[0], b[8])
	}
	size := int(binary.NativeEndian.Uint16(b[2:]))
	if size > len(b)-headerSize {
		return advertisement{}, errors.New("the options are longer than the message")
	}
	a := advertisement{link: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	var err error
	if a.options, err = parseOptions(b[headerSize:][:size]); err != nil {
		return advertisement{}, err
	}
	if a.router, err = source(b[headerSize+size:]); err != nil {
		return advertisement{}, err
	}
	return a, nil
}

// source finds the router's address among the attributes.
func source(b []byte) (netip.Addr, error) {
	for len(b) >= attrHeaderSize {
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeaderSize || size > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == attrSource && size == attrHeaderSize+16 {
			return netip.AddrFrom16([16]byte(b[attrHeaderSize:])), nil
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return netip.Addr{}, errors.New("the message does not say which router it is from")
}

func parseOptions(b []byte) ([]option, error) {
	var out []option
	for len(b) > 0 {
		if len(b) < optionUnit || b[1] == 0 || int(b[1])*optionUnit > len(b) {
			return nil, errors.New("an option is empty or longer than the message")
		}
		o := b[:int(b[1])*optionUnit]
		b = b[len(o):]
		read := option{lifetime: lifetime(o[4:])}
		switch o[0] {
		case optRDNSS:
			read.servers = servers(o[optionUnit:])
		case optDNSSL:
			read.domains = domains(o[optionUnit:])
		}
		if len(read.servers)+len(read.domains) > 0 {
			out = append(out, read)
		}
	}
	return out, nil
}

func lifetime(b []byte) time.Duration {
	return min(time.Duration(binary.BigEndian.Uint32(b))*time.Second, maxLifetime)
}

// servers leaves out those that only the link knows: KubeSolo refuses them.
func servers(b []byte) []netip.Addr {
	var out []netip.Addr
	for chunk := range slices.Chunk(b, 16) {
		if len(chunk) < 16 || len(out) == maxList {
			break
		}
		if a := netip.AddrFrom16([16]byte(chunk)); a.IsGlobalUnicast() && !a.Is4In6() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// domains reads names of labels (RFC 1035 §3.1), which are not compressed here;
// what follows the last one is zeroes.
func domains(b []byte) []string {
	var out []string
	for len(b) > 0 && b[0] != 0 && len(out) < maxList {
		var labels []string
		for len(b) > 0 && b[0] != 0 {
			if int(b[0]) >= len(b) {
				return out // the rest of this one is missing
			}
			labels = append(labels, string(b[1:][:b[0]]))
			b = b[1+int(b[0]):]
		}
		if len(b) == 0 {
			return out // it has no end
		}
		b = b[1:]
		if name := strings.Join(labels, "."); netcfg.ValidDomain(name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
