package dhcp6

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	clientPort   = 546
	serverPort   = 547
	firstTimeout = time.Second // doubled per try: 1 + 2 + 4 s
	tries        = 3
	// settle is how long an exchange waits for the link-local address: the
	// kernel lets nobody use it before it knows that it is unique (1 to 2 s).
	settle     = 5 * time.Second
	settlePoll = 100 * time.Millisecond
	maxPacket  = 1500
)

var errNoAnswer = errors.New("no DHCPv6 server answered")

// exchange is one conversation, with a socket of its own.
type exchange struct {
	conn  *net.UDPConn
	to    *net.UDPAddr
	mac   net.HardwareAddr
	start time.Time
}

func open(ctx context.Context, link string) (*exchange, error) {
	iface, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", link, err)
	}
	deadline := time.Now().Add(settle)
	for {
		conn, err := listen(iface)
		if err == nil {
			to := &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: serverPort, Zone: link}
			return &exchange{conn: conn, to: to, mac: iface.HardwareAddr, start: time.Now()}, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settlePoll):
		}
	}
}

func listen(iface *net.Interface) (*net.UDPConn, error) {
	addrs, err := iface.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", iface.Name, err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
			return net.ListenUDP("udp6", &net.UDPAddr{IP: n.IP, Port: clientPort, Zone: iface.Name})
		}
	}
	return nil, fmt.Errorf("%s has no IPv6 link-local address", iface.Name)
}

// duid is made from the hardware address (DUID-LL, RFC 8415 §11.4): an operator
// who wants to reserve an address finds it on the machine's label.
func (e *exchange) duid() []byte { return append([]byte{0, 3, 0, 1}, e.mac...) }

// iaid tells this link's addresses from those of other links.
func (e *exchange) iaid() [4]byte {
	var id [4]byte
	copy(id[:], e.mac[max(0, len(e.mac)-4):])
	return id
}

// association asks for an address, or for those that are held.
func (e *exchange) association(held []netip.Addr) option {
	id := e.iaid()
	b := append(id[:], make([]byte, 8)...)
	for _, a := range held {
		b = appendOptions(b, []option{{optIAAddr, append(a.AsSlice(), make([]byte, 8)...)}})
	}
	return option{optIANA, b}
}

// solicit asks any server for addresses, best those that are held.
func (e *exchange) solicit(ctx context.Context, held []netip.Addr) (Lease, error) {
	offer, err := e.ask(ctx, msgSolicit, msgAdvertise, e.association(held))
	if err != nil {
		return Lease{}, err
	}
	offered, err := parseLease(offer, e.iaid(), false)
	if err != nil {
		return Lease{}, err
	}
	return e.lease(ctx, msgRequest, e.association(offered.Addresses), option{optServerID, offered.server})
}

// renew asks the server of the lease, rebind any.
func (e *exchange) renew(ctx context.Context, l Lease) (Lease, error) {
	return e.lease(ctx, msgRenew, e.association(l.Addresses), option{optServerID, l.server})
}

func (e *exchange) rebind(ctx context.Context, l Lease) (Lease, error) {
	return e.lease(ctx, msgRebind, e.association(l.Addresses))
}

func (e *exchange) lease(ctx context.Context, kind byte, options ...option) (Lease, error) {
	m, err := e.ask(ctx, kind, msgReply, options...)
	if err != nil {
		return Lease{}, err
	}
	return parseLease(m, e.iaid(), false)
}

// inform asks for the names alone.
func (e *exchange) inform(ctx context.Context) (Lease, error) {
	m, err := e.ask(ctx, msgInformation, msgReply)
	if err != nil {
		return Lease{}, err
	}
	return parseLease(m, e.iaid(), true)
}

// ask sends a message until an answer to it comes.
func (e *exchange) ask(ctx context.Context, kind, want byte, options ...option) (message, error) {
	stop := context.AfterFunc(ctx, func() { e.conn.SetReadDeadline(time.Now()) })
	defer stop()
	m := message{kind: kind}
	binary.BigEndian.PutUint16(m.xid[:], uint16(rand.Uint32()))
	m.xid[2] = byte(rand.Uint32())
	timeout := firstTimeout
	for range tries {
		elapsed := binary.BigEndian.AppendUint16(nil, uint16(min(time.Since(e.start)/(10*time.Millisecond), 0xffff)))
		m.options = append([]option{
			{optClientID, e.duid()}, {optElapsed, elapsed},
			{optRequest, []byte{0, optDNS, 0, optSearch, 0, optRefreshTime, 0, optNTP}},
		}, options...)
		if _, err := e.conn.WriteTo(m.bytes(), e.to); err != nil {
			return message{}, fmt.Errorf("send to DHCPv6 servers: %w", err)
		}
		e.conn.SetReadDeadline(time.Now().Add(timeout))
		if ctx.Err() != nil { // ended between the two deadlines
			return message{}, ctx.Err()
		}
		answer, err := e.read(m.xid, want)
		var netErr net.Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &netErr) || !netErr.Timeout() {
			return answer, err
		}
		timeout *= 2
	}
	return message{}, errNoAnswer
}

// read waits for the answer; what is for others or malformed is passed over.
func (e *exchange) read(xid [3]byte, want byte) (message, error) {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := e.conn.ReadFrom(buf)
		if err != nil {
			return message{}, err
		}
		m, err := parseMessage(buf[:n])
		if err != nil || m.kind != want || m.xid != xid {
			continue
		}
		if id, _ := find(m.options, optClientID); slices.Equal(id, e.duid()) {
			return m, nil
		}
	}
}
