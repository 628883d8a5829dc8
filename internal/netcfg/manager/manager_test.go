package manager_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/manager"
	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

// serve gives 192.0.2.<host> to whoever asks on peer0, until stop.
func serve(t *testing.T, host *atomic.Uint32) (stop func()) {
	t.Helper()
	handler := func(conn net.PacketConn, _ net.Addr, req *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeAck
		if req.MessageType() == dhcpv4.MessageTypeDiscover {
			kind = dhcpv4.MessageTypeOffer
		}
		ip := net.IPv4(192, 0, 2, byte(host.Load()))
		if want := req.RequestedIPAddress(); kind == dhcpv4.MessageTypeAck && want != nil && !want.Equal(ip) {
			kind = dhcpv4.MessageTypeNak
		}
		answer, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(ip),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))), dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
			dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))), dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(192, 0, 2, 53))),
			dhcpv4.WithOption(dhcpv4.OptDomainName("lan.example")), dhcpv4.WithLeaseTime(3600))
		if err != nil {
			t.Error(err)
			return
		}
		conn.WriteTo(answer.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
	}
	s, err := server4.NewServer("peer0", &net.UDPAddr{IP: net.IPv4zero, Port: 67}, handler)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve() })
	stop = sync.OnceFunc(func() { s.Close(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func options(t *testing.T, dir string) manager.Options {
	return manager.Options{
		Config:   netcfg.Config{Links: []netcfg.Link{{ID: "eth0", DHCP4: true}}},
		Hostname: "box", NodeIPPath: filepath.Join(dir, "node-ip"), LeaseDir: filepath.Join(dir, "leases"),
		ResolvPath: filepath.Join(dir, "resolv.conf"), HostsPath: filepath.Join(dir, "hosts"),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// start runs a manager; stop ends it.
func start(t *testing.T, o manager.Options) (m *manager.Manager, stop func()) {
	t.Helper()
	m, err := manager.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return m, stop
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLeaseToReady(t *testing.T) {
	nstest.Require(t, nstest.Net)
	dir := t.TempDir()
	_, peer := nettest.Pair(t)
	var host atomic.Uint32
	host.Store(10)
	serve(t, &host)
	o := options(t, dir)
	m, stop := start(t, o)
	if err := netlink.LinkSetUp(peer); err != nil { // the cable goes in
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for a hang
	defer cancel()
	s, err := m.WaitReady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.String(), "ready 192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53 node 192.0.2.10 (chosen)"; got != want {
		t.Errorf("status\n got %s\nwant %s", got, want)
	}
	if got := read(t, o.ResolvPath); !strings.Contains(got, "\nnameserver 192.0.2.53\nsearch lan.example\n") {
		t.Errorf("resolv.conf:\n%s", got)
	}
	if got := read(t, o.HostsPath); !strings.Contains(got, "\n192.0.2.10 box\n") {
		t.Errorf("hosts:\n%s", got)
	}
	if got := read(t, o.NodeIPPath); got != "192.0.2.10\n" {
		t.Errorf("node-ip: %q", got)
	}
	stop()
	if !strings.Contains(read(t, filepath.Join(o.LeaseDir, "eth0.json")), "192.0.2.10/24") {
		t.Error("the lease is not kept")
	}
}

func TestNoNetworkAtAll(t *testing.T) {
	nstest.Require(t, nstest.Net)
	o := options(t, t.TempDir())
	o.NoLinkGrace = time.Millisecond
	o.Config = netcfg.Config{}
	m, _ := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := m.WaitReady(ctx)
	if err == nil || !strings.Contains(err.Error(), "there is no link for default: (any physical ethernet) dhcp4") {
		t.Errorf("error: %v", err)
	}
	if s.NodeIP != netip.MustParseAddr("10.40.0.1") || s.Ready {
		t.Errorf("status: %s", s)
	}
	if got := read(t, o.ResolvPath); !strings.HasSuffix(got, "nameserver 10.40.0.1\n") {
		t.Errorf("resolv.conf:\n%s", got)
	}
	if _, err := os.Stat(o.NodeIPPath); err == nil {
		t.Error("the fallback was kept")
	}
}

func TestLimitWithoutCarrier(t *testing.T) {
	nstest.Require(t, nstest.Net)
	dir := t.TempDir()
	nettest.Pair(t) // the peer stays down
	o := options(t, dir)
	if err := os.WriteFile(o.NodeIPPath, []byte("192.0.2.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, _ := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s, err := m.WaitReady(ctx)
	if err == nil || !strings.Contains(err.Error(), "eth0 has no carrier") {
		t.Errorf("error: %v", err)
	}
	if s.NodeIP != netip.MustParseAddr("192.0.2.10") || s.NodeIPSource != "kept" {
		t.Errorf("status: %s", s)
	}
}

func TestStaticWithoutGateway(t *testing.T) {
	nstest.Require(t, nstest.Net)
	nettest.Pair(t)
	o := options(t, t.TempDir())
	o.Config = netcfg.Config{Links: []netcfg.Link{{ID: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.42.0.5/24")}}}}
	o.NodeIP = netip.MustParseAddr("10.42.0.5")
	m, _ := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := m.WaitReady(ctx)
	if err != nil || s.NodeIPSource != "configured" {
		t.Errorf("%v: %s", err, s)
	}
	if len(s.Warnings) == 0 || !strings.Contains(s.Warnings[0], "collides with the range of pods") {
		t.Errorf("warnings: %q", s.Warnings)
	}
}

// Another lease must not move the node: the old address stays reachable on the
// dummy link, and the LAN gets no ARP answer for it.
func TestVMNodeIPStaysThroughAnotherLease(t *testing.T) {
	nstest.Require(t, nstest.Net|nstest.VM)
	dir := t.TempDir()
	link, peer := nettest.Pair(t)
	var host atomic.Uint32
	host.Store(10)
	serve(t, &host)
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	m, _ := start(t, options(t, dir))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := m.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	host.Store(11)
	if err := netlink.LinkSetDown(peer); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, func() bool { return !m.Status().Links[0].Carrier })
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	other := netip.MustParsePrefix("192.0.2.11/24")
	wait(t, ctx, func() bool { s := m.Status(); return len(s.Addresses) == 1 && s.Addresses[0] == other })
	if s := m.Status(); s.NodeIP != netip.MustParseAddr("192.0.2.10") || !s.Ready {
		t.Errorf("status: %s", s)
	}
	l, err := net.Listen("tcp4", "192.0.2.10:0")
	if err != nil {
		t.Fatalf("the node's address is not on this node: %v", err)
	}
	l.Close()
	if got := read(t, "/proc/sys/net/ipv4/conf/all/arp_ignore"); got != "1\n" {
		t.Errorf("arp_ignore %q", got)
	}
	if addrs, err := netlink.AddrList(link, netlink.FAMILY_V4); err != nil || len(addrs) != 1 {
		t.Errorf("eth0 has %v %v", addrs, err)
	}
}

func wait(t *testing.T, ctx context.Context, ok func() bool) {
	t.Helper()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatal("it never came to that")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
