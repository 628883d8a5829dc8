// Package dhcptest gives a test a cable and a DHCPv4 server at its other end:
// dnsmasq, or one that answers as the test says.
//
// It is for tests in a network namespace of their own (nstest.Net): it makes
// links and takes the server's port, always by the names eth0 and peer0. It
// never checks anything itself; the tests of netcfg/dhcp and netcfg/manager,
// which use it, are its tests too.
package dhcptest

import (
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
)

// Veth makes the pair eth0 - peer0. Both are down: SetUp is the test's.
func Veth(t *testing.T) (link, peer netlink.Link) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer0"}); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	peer, err = netlink.LinkByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	return link, peer
}

// SetUp plugs in each of the links.
func SetUp(t *testing.T, links ...netlink.Link) {
	t.Helper()
	for _, l := range links {
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// Serve answers on peer0 until stop or the end of the test: 192.0.2.50/24 from 192.0.2.1,
// which is the router too, for a minute. Reply may change the answer, and gives
// false for none; each request is answered in a goroutine of its own.
func Serve(t *testing.T, reply func(request, answer *dhcpv4.DHCPv4) bool) (stop func()) {
	t.Helper()
	handler := func(conn net.PacketConn, _ net.Addr, request *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeAck
		if request.MessageType() == dhcpv4.MessageTypeDiscover {
			kind = dhcpv4.MessageTypeOffer
		}
		answer, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 50)),
			dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))),
			dhcpv4.WithLeaseTime(60))
		if err != nil {
			t.Error(err)
			return
		}
		if reply(request, answer) {
			// One that is lost is asked for again.
			_, _ = conn.WriteTo(answer.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
		}
	}
	s, err := server4.NewServer("peer0", &net.UDPAddr{IP: net.IPv4zero, Port: 67}, handler)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve() }) // ends with Close
	stop = sync.OnceFunc(func() { s.Close(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// Dnsmasq serves 192.0.2.100 to .110 for two minutes on peer, which moves to a
// network namespace of the server's own where it is 192.0.2.1. Options are
// further arguments of dnsmasq. It writes the files log and leases in dir.
func Dnsmasq(t *testing.T, peer netlink.Link, dir string, options ...string) {
	t.Helper()
	const script = `read go; ip link set lo up; ip addr add 192.0.2.1/24 dev peer0; ip link set peer0 up
dir=$1; shift
exec dnsmasq -k --port=0 --user=root --interface=peer0 --bind-interfaces --dhcp-authoritative --no-ping --log-dhcp --log-facility="$dir/log" \
  --pid-file= --dhcp-leasefile="$dir/leases" --dhcp-range=192.0.2.100,192.0.2.110,2m "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh", dir}, options...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := netlink.LinkSetNsPid(peer, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
}
