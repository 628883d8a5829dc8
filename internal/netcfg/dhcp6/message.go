// Package dhcp6 is a DHCPv6 client for one link (RFC 8415, 3646, 5908).
//
// It owns the life of what a server gives: addresses (IA_NA) and name servers,
// or name servers alone where the network gives addresses by router
// advertisements; asking, renewal, rebinding, the end. It never configures the
// link, and it knows nothing of routers: the default route comes from the
// kernel (accept_ra). Nothing is kept over a reboot, since the server finds the
// binding again by the client's identifier.
//
// The messages are coded here: the one library has 40 kinds of options, which
// would be 0.15 MB in PID 1 for the ten that count. Reading is pure and fuzzed;
// the exchanges are tested against dnsmasq in a network namespace.
package dhcp6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/rfc1035label"

	"kubesolo.io/os/internal/netcfg"
)

// Kinds of messages (RFC 8415 §7.3).
const (
	msgSolicit     = 1
	msgAdvertise   = 2
	msgRequest     = 3
	msgRenew       = 5
	msgRebind      = 6
	msgReply       = 7
	msgInformation = 11
)

// Options (RFC 8415 §21, RFC 3646, RFC 5908).
const (
	optClientID    = 1
	optServerID    = 2
	optIANA        = 3
	optIAAddr      = 5
	optRequest     = 6
	optElapsed     = 8
	optStatus      = 13
	optDNS         = 23
	optSearch      = 24
	optRefreshTime = 32
	optNTP         = 56
	ntpServerAddr  = 1 // suboption of optNTP
)

// Bounds on what a server may say.
const (
	minLifetime    = time.Minute
	maxLifetime    = 1<<32*time.Second - time.Second
	defaultRefresh = 24 * time.Hour   // IRT_DEFAULT
	minRefresh     = 10 * time.Minute // IRT_MINIMUM
	maxList        = 8
	maxDUID        = 130
)

type option struct {
	code uint16
	data []byte
}

type message struct {
	kind    byte
	xid     [3]byte
	options []option
}

func (m message) bytes() []byte {
	return appendOptions(append([]byte{m.kind}, m.xid[:]...), m.options)
}

func appendOptions(b []byte, options []option) []byte {
	for _, o := range options {
		b = binary.BigEndian.AppendUint16(b, o.code)
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.data)))
		b = append(b, o.data...)
	}
	return b
}

func parseMessage(b []byte) (message, error) {
	if len(b) < 4 {
		return message{}, fmt.Errorf("a message of %d bytes has no header", len(b))
	}
	options, err := parseOptions(b[4:])
	return message{b[0], [3]byte(b[1:4]), options}, err
}

func parseOptions(b []byte) ([]option, error) {
	var out []option
	for len(b) > 0 {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) {
			return nil, errors.New("an option is longer than the message")
		}
		end := 4 + int(binary.BigEndian.Uint16(b[2:]))
		out = append(out, option{binary.BigEndian.Uint16(b), b[4:end]})
		b = b[end:]
	}
	return out, nil
}

func find(options []option, code uint16) ([]byte, bool) {
	i := slices.IndexFunc(options, func(o option) bool { return o.code == code })
	if i < 0 {
		return nil, false
	}
	return options[i].data, true
}

// status is the error in a status option, nil when it is absent or success.
func status(options []option) error {
	b, ok := find(options, optStatus)
	if !ok || len(b) < 2 {
		return nil
	}
	code := binary.BigEndian.Uint16(b)
	if code == 0 {
		return nil
	}
	return statusError{code, string(b[2:])}
}

type statusError struct {
	code uint16
	text string
}

func (e statusError) Error() string {
	names := []string{"success", "unspecified failure", "no addresses available", "no binding", "not on this link", "use multicast"}
	name := fmt.Sprintf("status %d", e.code)
	if int(e.code) < len(names) {
		name = names[e.code]
	}
	if e.text == "" {
		return "the DHCPv6 server says: " + name
	}
	return fmt.Sprintf("the DHCPv6 server says: %s (%q)", name, e.text)
}

// Lease is what a server gave. Without addresses it is only for the names.
type Lease struct {
	Addresses []netip.Addr
	DNS       []netip.Addr
	NTP       []netip.Addr
	Search    []string
	// Lifetime, T1 (renew) and T2 (rebind) count from the answer; 0 < T1 < T2
	// < Lifetime.
	Lifetime, T1, T2 time.Duration

	server []byte // DUID
}

// String is one line for a log.
func (l Lease) String() string {
	var parts []string
	for _, a := range l.Addresses {
		parts = append(parts, a.String())
	}
	for _, a := range l.DNS {
		parts = append(parts, "dns "+a.String())
	}
	return strings.Join(append(parts, "for "+l.Lifetime.String()), ", ")
}

// parseLease reads the answer to a request that named iaid; stateless is for
// the answer to an information request.
func parseLease(m message, iaid [4]byte, stateless bool) (Lease, error) {
	if err := status(m.options); err != nil {
		return Lease{}, err
	}
	var l Lease
	server, ok := find(m.options, optServerID)
	if !ok || len(server) == 0 || len(server) > maxDUID {
		return Lease{}, errors.New("the DHCPv6 server does not say who it is")
	}
	l.server = slices.Clone(server)
	l.names(m.options)
	if stateless {
		l.Lifetime = defaultRefresh
		if b, ok := find(m.options, optRefreshTime); ok && len(b) == 4 {
			l.Lifetime = seconds(b)
		}
		l.Lifetime = min(max(l.Lifetime, minRefresh), maxLifetime)
		l.T1, l.T2 = l.Lifetime/2, l.Lifetime/10*8
		return l, nil
	}
	problem := errors.New("the DHCPv6 server gave no address")
	for _, o := range m.options {
		if o.code != optIANA || len(o.data) < 12 || [4]byte(o.data[:4]) != iaid {
			continue
		}
		if err := l.association(o.data); err != nil {
			problem = err
		}
	}
	if len(l.Addresses) == 0 {
		return Lease{}, problem
	}
	l.Lifetime = min(max(l.Lifetime, minLifetime), maxLifetime)
	if l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.Lifetime {
		l.T1, l.T2 = l.Lifetime/2, l.Lifetime/10*8 // RFC 8415 §21.4
	}
	return l, nil
}

// association reads one IA_NA. The lease lasts as long as the address that
// ends first.
func (l *Lease) association(b []byte) error {
	options, err := parseOptions(b[12:])
	if err != nil {
		return fmt.Errorf("malformed address option: %w", err)
	}
	if err := status(options); err != nil {
		return err
	}
	l.T1, l.T2 = seconds(b[4:]), seconds(b[8:])
	for _, o := range options {
		if o.code != optIAAddr || len(o.data) < 24 {
			continue
		}
		a, valid := netip.AddrFrom16([16]byte(o.data)), seconds(o.data[20:])
		if !host(a) || valid == 0 || slices.Contains(l.Addresses, a) || len(l.Addresses) == maxList {
			continue
		}
		l.Addresses = append(l.Addresses, a)
		if l.Lifetime == 0 || valid < l.Lifetime {
			l.Lifetime = valid
		}
	}
	return nil
}

func (l *Lease) names(options []option) {
	for _, o := range options {
		switch o.code {
		case optDNS:
			l.DNS = addAddrs(l.DNS, o.data)
		case optNTP:
			// A damaged list is as good as none.
			sub, _ := parseOptions(o.data)
			for _, s := range sub {
				if s.code == ntpServerAddr {
					l.NTP = addAddrs(l.NTP, s.data)
				}
			}
		case optSearch:
			labels, err := rfc1035label.FromBytes(o.data)
			if err != nil {
				continue
			}
			for _, n := range labels.Labels {
				n = strings.TrimSuffix(n, ".")
				if netcfg.ValidDomain(n) && !slices.Contains(l.Search, n) && len(l.Search) < maxList {
					l.Search = append(l.Search, n)
				}
			}
		}
	}
}

func addAddrs(to []netip.Addr, b []byte) []netip.Addr {
	for chunk := range slices.Chunk(b, 16) {
		if len(chunk) < 16 || len(to) == maxList {
			break
		}
		if a := netip.AddrFrom16([16]byte(chunk)); host(a) && !slices.Contains(to, a) {
			to = append(to, a)
		}
	}
	return to
}

func host(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.Is4In6() }

func seconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second
}
