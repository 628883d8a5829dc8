package dhcp_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"kubesolo.io/os/internal/netcfg/dhcp"
	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

// links makes the pair eth0 - peer0, both up.
func links(t *testing.T) (link, peer netlink.Link) {
	t.Helper()
	link, peer = nettest.Pair(t)
	nettest.Up(t, link, peer)
	return link, peer
}

// dnsmasq serves on peer.
func dnsmasq(t *testing.T, peer netlink.Link, dir string) {
	t.Helper()
	nettest.Dnsmasq(t, peer, "192.0.2.1/24", "--dhcp-authoritative", "--no-ping", "--log-dhcp", "--log-facility="+dir+"/log", "--dhcp-leasefile="+dir+"/leases",
		"--dhcp-range=192.0.2.100,192.0.2.110,2m", "--dhcp-option=option:router,192.0.2.1", "--dhcp-option=option:dns-server,192.0.2.53",
		"--dhcp-option=option:mtu,1400", "--dhcp-option=option:ntp-server,192.0.2.123", "--dhcp-option=option:domain-search,a.example,b.example",
		"--dhcp-option=option:T1,3", "--dhcp-option=option:T2,100")
}

// run starts a client that puts its address on the link, and returns what it
// reports.
func run(t *testing.T, link netlink.Link, dir string) (c *dhcp.Client, leases chan *dhcp.Lease, stop func()) {
	t.Helper()
	leases = make(chan *dhcp.Lease, 10)
	var current *netlink.Addr
	c = dhcp.New(dhcp.Options{
		Link: "eth0", Hostname: "box", Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Changed: func(l *dhcp.Lease) {
			if current != nil {
				netlink.AddrDel(link, current)
				current = nil
			}
			if l != nil {
				current, _ = netlink.ParseAddr(l.Address.String())
				if err := netlink.AddrReplace(link, current); err != nil {
					t.Error(err)
				}
			}
			leases <- l
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return c, leases, stop
}

func actions(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(string(b), "\n") {
		for _, a := range []string{"DHCPDISCOVER", "DHCPOFFER", "DHCPREQUEST", "DHCPACK", "DHCPNAK"} {
			if strings.Contains(line, a+"(") {
				out = append(out, strings.TrimPrefix(a, "DHCP"))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAgainstDnsmasq(t *testing.T) {
	nstest.Require(t, nstest.Net)
	dir := t.TempDir()
	link, peer := links(t)
	dnsmasq(t, peer, dir)
	kept := filepath.Join(dir, "kept")

	c, leases, stop := run(t, link, kept)
	c.SetCarrier(true)
	l := nettest.Next(t, leases)
	if l == nil {
		t.Fatal("no lease")
	}
	if l.MTU != 1400 || strings.Join(l.Search, " ") != "a.example b.example" || len(l.NTP) != 1 ||
		!strings.Contains(l.String(), "/24 from 192.0.2.1 for 2m0s, default via 192.0.2.1, dns 192.0.2.53") {
		t.Errorf("lease %+v", l)
	}
	// T1 is 3 s: by unicast, from the address on the link.
	if again := nettest.Next(t, leases); again == nil || again.Address != l.Address {
		t.Errorf("renewal gave %v, before %v", again, l)
	}
	// The cable was out: the address is asked for again.
	c.SetCarrier(false)
	c.SetCarrier(false)
	time.Sleep(50 * time.Millisecond) // lets the client see that it was away
	c.SetCarrier(true)
	if again := nettest.Next(t, leases); again == nil || again.Address != l.Address {
		t.Errorf("after the flap %v, before %v", again, l)
	}
	stop()

	// The next boot asks for the address it had, with one message.
	before := actions(t, filepath.Join(dir, "log"))
	if !strings.HasPrefix(before, "DISCOVER OFFER REQUEST ACK REQUEST ACK") {
		t.Errorf("actions %s", before)
	}
	c, leases, stop = run(t, link, kept)
	c.SetCarrier(true)
	if again := nettest.Next(t, leases); again == nil || again.Address != l.Address {
		t.Errorf("after the reboot %v, before %v", again, l)
	}
	stop()
	if added := strings.TrimPrefix(actions(t, filepath.Join(dir, "log")), before); added != " REQUEST ACK" {
		t.Errorf("actions of the second boot:%s", added)
	}
	b, err := os.ReadFile(filepath.Join(dir, "leases"))
	if err != nil || !strings.Contains(string(b), " box ") {
		t.Errorf("the server does not know the host name: %v %s", err, b)
	}
}

// server answers in the test: reply may change the answer or give none.
func server(t *testing.T, reply func(req, answer *dhcpv4.DHCPv4) bool) {
	t.Helper()
	handler := func(conn net.PacketConn, _ net.Addr, req *dhcpv4.DHCPv4) {
		answer, err := dhcpv4.NewReplyFromRequest(req,
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 50)),
			dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))),
			dhcpv4.WithLeaseTime(60))
		if err != nil {
			t.Error(err)
			return
		}
		answer.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
		if req.MessageType() == dhcpv4.MessageTypeDiscover {
			answer.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
		}
		if reply(req, answer) {
			conn.WriteTo(answer.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
		}
	}
	s, err := server4.NewServer("peer0", &net.UDPAddr{IP: net.IPv4zero, Port: 67}, handler)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve() })
	t.Cleanup(func() { s.Close(); wg.Wait() })
}

func TestRefusedAddressIsAskedAfresh(t *testing.T) {
	nstest.Require(t, nstest.Net)
	dir := t.TempDir()
	link, _ := links(t)
	old := `{"address":"198.51.100.7/24","ack":"AQ=="}`
	if err := os.WriteFile(filepath.Join(dir, "eth0.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan netip.Addr, 10)
	server(t, func(req, answer *dhcpv4.DHCPv4) bool {
		a, _ := netip.AddrFromSlice(req.RequestedIPAddress().To4())
		asked <- a
		if a == netip.MustParseAddr("198.51.100.7") {
			answer.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			answer.YourIPAddr = net.IPv4zero
		}
		return true
	})
	c, leases, _ := run(t, link, dir)
	c.SetCarrier(true)
	if l := nettest.Next(t, leases); l == nil || l.Address != netip.MustParsePrefix("192.0.2.50/24") {
		t.Errorf("lease %v", l)
	}
	if a := <-asked; a.String() != "198.51.100.7" {
		t.Errorf("first asked for %s", a)
	}
	if a := <-asked; a.IsValid() {
		t.Errorf("after the refusal asked for %s again", a)
	}
}

func TestOddAnswersAreNotUsed(t *testing.T) {
	nstest.Require(t, nstest.Net)
	link, _ := links(t)
	var mu sync.Mutex
	discovers := 0
	server(t, func(req, answer *dhcpv4.DHCPv4) bool {
		mu.Lock()
		defer mu.Unlock()
		if req.MessageType() == dhcpv4.MessageTypeDiscover {
			discovers++
			return discovers != 1 // the first is lost
		}
		if discovers == 2 {
			answer.YourIPAddr = net.IPv4(127, 0, 0, 1)
		}
		return true
	})
	c, leases, _ := run(t, link, "")
	c.SetCarrier(true)
	if l := nettest.Next(t, leases); l == nil || l.Address != netip.MustParsePrefix("192.0.2.50/24") {
		t.Errorf("lease %v", l)
	}
	mu.Lock()
	defer mu.Unlock()
	if discovers != 3 {
		t.Errorf("%d discovers, want 3: one lost, one for the odd answer, one good", discovers)
	}
}
