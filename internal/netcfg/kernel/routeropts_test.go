package kernel_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// advertise sends a router advertisement without a router's lifetime (RFC 4861
// §4.2), with one option, from a link to all nodes.
func advertise(t *testing.T, link int, option []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for option, value := range map[int]int{unix.IPV6_MULTICAST_HOPS: 255, unix.IPV6_MULTICAST_LOOP: 0} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, value); err != nil {
			t.Fatal(err)
		}
	}
	message := append([]byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, option...)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrInet6{ZoneId: uint32(link), Addr: [16]byte{0xff, 2, 15: 1}}); err != nil {
		t.Fatal(err)
	}
}

// The kernel passes on name servers with the link and the router, and nothing from
// links that do not listen to routers.
func TestRouterOptions(t *testing.T) {
	nstest.Require(t, nstest.Net)
	for _, link := range []string{"all", "default"} {
		for file, value := range map[string]string{"accept_dad": "0", "forwarding": "1", "accept_ra": "2"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/"+file, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	veth(t, "eth0", "peer0")
	veth(t, "eth1", "peer1")
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth1/accept_ra", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	index, router := map[string]int{}, netip.Addr{}
	for _, name := range []string{"eth0", "eth1", "peer0", "peer1"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
		index[name] = l.Attrs().Index
		if name != "peer0" {
			continue
		}
		for router == (netip.Addr{}) { // given by the kernel a moment after the link is up
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			if len(addrs) > 0 {
				router, _ = netip.AddrFromSlice(addrs[0].IP)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	messages := open(t).RouterOptions(ctx)
	option := append([]byte{25, 3, 0, 0, 0, 0, 2, 88}, netip.MustParseAddr("2001:db8::53").AsSlice()...)
	// Until the peer's address can be used and the first one arrives.
	var got []byte
	for got == nil {
		advertise(t, index["peer1"], option)
		advertise(t, index["peer0"], option)
		select {
		case got = <-messages:
		case <-time.After(100 * time.Millisecond):
		}
	}
	if n := len(got); n < 60 || got[0] != unix.AF_INET6 || got[8] != 134 || int(got[4]) != index["eth0"] || !bytes.Equal(got[16:40], option) ||
		!bytes.Equal(got[n-16:], router.AsSlice()) {
		t.Errorf("message % x; links %v, router %s", got, index, router)
	}
	cancel()
	for range messages { // is closed
	}
}
