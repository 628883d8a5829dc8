package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// errRefused: the server said DHCPNAK, the address must not be used any more.
var errRefused = errors.New("the server refused the address (DHCPNAK)")

// Each exchange opens its own client and closes it: an open one reads every
// IPv4 packet of the link (20 000 foreign packets made 34 MB of garbage), and
// one that lived through a link flap is deaf.
const (
	firstTimeout = time.Second // doubled per try: 1 + 2 + 4 s
	tries        = 3
	rebootTries  = 2 // 1 + 2 s for a server that ignores what it does not know
	renewTries   = 2
)

type exchange struct {
	link     string
	hostname string
}

func (e exchange) options() []dhcpv4.Modifier {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithRequestedOptions(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute,
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
			dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers, dhcpv4.OptionHostName),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		clientID,
	}
	if e.hostname != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(e.hostname)))
	}
	return mods
}

// clientID is type 1 (Ethernet) and the hardware address: what most servers
// would use anyway, said explicitly so that firmware that boots by network
// and this system get the same address (RFC 2132 §9.14).
func clientID(m *dhcpv4.DHCPv4) {
	m.UpdateOption(dhcpv4.OptClientIdentifier(append([]byte{1}, m.ClientHWAddr...)))
}

// request runs DISCOVER to ACK. hint, when valid, is asked for.
func (e exchange) request(ctx context.Context, hint netip.Addr) (Lease, error) {
	c, err := nclient4.New(e.link, nclient4.WithTimeout(firstTimeout), nclient4.WithRetry(tries))
	if err != nil {
		return Lease{}, fmt.Errorf("open a raw socket on %s: %w", e.link, err)
	}
	defer closing(ctx, c)()
	mods := e.options()
	if hint.IsValid() {
		mods = append(mods, requestAddr(hint))
	}
	offer, err := c.DiscoverOffer(ctx, mods...)
	if err != nil {
		return Lease{}, answer(err)
	}
	// Not with the hint: the request names the address that was offered.
	lease, err := c.RequestFromOffer(ctx, offer, e.options()...)
	if err != nil {
		return Lease{}, answer(err)
	}
	return Parse(lease.ACK)
}

// reboot asks for the address of the last boot with one message, no offer
// (RFC 2131 §4.3.2, INIT-REBOOT).
func (e exchange) reboot(ctx context.Context, addr netip.Addr) (Lease, error) {
	iface, err := net.InterfaceByName(e.link)
	if err != nil {
		return Lease{}, fmt.Errorf("link %s: %w", e.link, err)
	}
	mods := append(e.options(), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), requestAddr(addr))
	msg, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(iface.HardwareAddr)}, mods...)...)
	if err != nil {
		return Lease{}, fmt.Errorf("build a request: %w", err)
	}
	return e.send(ctx, msg, nclient4.DefaultServers, rebootTries, nil)
}

// renew asks the server of the lease, from the leased address (which must be
// on the link); rebind asks any server.
func (e exchange) renew(ctx context.Context, l Lease) (Lease, error) {
	msg, err := e.renewal(l)
	if err != nil {
		return Lease{}, err
	}
	if !l.Server.IsValid() {
		return e.send(ctx, msg, nclient4.DefaultServers, renewTries, l.ACK)
	}
	from := &net.UDPAddr{IP: l.Address.Addr().AsSlice(), Port: nclient4.ClientPort}
	return e.send(ctx, msg, &net.UDPAddr{IP: l.Server.AsSlice(), Port: nclient4.ServerPort}, renewTries, l.ACK, nclient4.WithUnicast(from))
}

func (e exchange) rebind(ctx context.Context, l Lease) (Lease, error) {
	msg, err := e.renewal(l)
	if err != nil {
		return Lease{}, err
	}
	return e.send(ctx, msg, nclient4.DefaultServers, renewTries, l.ACK)
}

// renewal has ciaddr and neither server identifier nor requested address
// (RFC 2131 §4.3.2, RENEWING and REBINDING).
func (e exchange) renewal(l Lease) (*dhcpv4.DHCPv4, error) {
	ack, err := dhcpv4.FromBytes(l.ACK)
	if err != nil {
		return nil, fmt.Errorf("the kept answer is damaged: %w", err)
	}
	msg, err := dhcpv4.NewRenewFromAck(ack, e.options()...)
	if err != nil {
		return nil, fmt.Errorf("build a renewal: %w", err)
	}
	return msg, nil
}

// send sends a request and reads the answer; what a renewal's answer leaves out
// is taken from the old one.
func (e exchange) send(ctx context.Context, msg *dhcpv4.DHCPv4, to *net.UDPAddr, retries int, old []byte, opts ...nclient4.ClientOpt) (Lease, error) {
	opts = append([]nclient4.ClientOpt{nclient4.WithTimeout(firstTimeout), nclient4.WithRetry(retries)}, opts...)
	c, err := nclient4.New(e.link, opts...)
	if err != nil {
		return Lease{}, fmt.Errorf("open a socket on %s: %w", e.link, err)
	}
	defer closing(ctx, c)()
	got, err := c.SendAndRead(ctx, to, msg, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return Lease{}, answer(err)
	}
	if got.MessageType() == dhcpv4.MessageTypeNak {
		return Lease{}, refused(got)
	}
	if err := inherit(got, old); err != nil {
		return Lease{}, err
	}
	l, err := Parse(got)
	if err != nil {
		return Lease{}, err
	}
	if !l.Server.IsValid() {
		l.Server, _ = netip.AddrFromSlice(to.IP.To4())
	}
	return l, nil
}

// inherit fills in options that a renewal's answer lacks: Windows servers leave
// out what did not change, and a node must not lose its default route by that.
func inherit(ack *dhcpv4.DHCPv4, old []byte) error {
	if old == nil {
		return nil
	}
	before, err := dhcpv4.FromBytes(old)
	if err != nil {
		return fmt.Errorf("the kept answer is damaged: %w", err)
	}
	codes := []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionServerIdentifier, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers,
	}
	if !ack.Options.Has(dhcpv4.OptionRouter) && !ack.Options.Has(dhcpv4.OptionClasslessStaticRoute) {
		codes = append(codes, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute)
	}
	for _, code := range codes {
		if value := before.Options.Get(code); value != nil && !ack.Options.Has(code) {
			ack.UpdateOption(dhcpv4.OptGeneric(code, value))
		}
	}
	return nil
}

// closing closes the client at the end of the exchange, or at once when ctx
// ends so that a blocked read returns.
func closing(ctx context.Context, c *nclient4.Client) func() {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return func() { stop(); c.Close() }
}

func requestAddr(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

// answer makes the library's errors fit for a console.
func answer(err error) error {
	if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
		return refused(nak.Nak)
	}
	if errors.Is(err, nclient4.ErrNoResponse) {
		return errors.New("no DHCP server answered")
	}
	return err
}

func refused(nak *dhcpv4.DHCPv4) error {
	if m := nak.Message(); m != "" {
		return fmt.Errorf("%w: %q", errRefused, m)
	}
	return errRefused
}
