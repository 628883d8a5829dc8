package linklocal

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"kubesolo.io/os/internal/netcfg/nettest"
	"kubesolo.io/os/internal/nstest"
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func TestCandidates(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for n := range uint32(1000) {
		for _, m := range []string{"52:54:00:00:00:01", "52:54:00:00:00:02"} {
			a := candidate(mac(m), n)
			b := a.As4()
			if !a.IsLinkLocalUnicast() || b[2] == 0 || b[2] == 255 {
				t.Fatalf("%s cannot be used", a)
			}
			if a != candidate(mac(m), n) {
				t.Fatal("another address for the same hardware")
			}
			seen[a] = true
		}
	}
	if len(seen) < 1900 {
		t.Errorf("2000 tries give only %d addresses", len(seen))
	}
}

func TestTakes(t *testing.T) {
	own, other := mac("52:54:00:00:00:01"), [6]byte(mac("52:54:00:00:00:02"))
	addr, elsewhere := netip.MustParseAddr("169.254.7.7"), netip.MustParseAddr("169.254.7.8")
	zero := netip.IPv4Unspecified()
	for name, tc := range map[string]struct {
		a    arp
		want bool
	}{
		"a reply of its owner":        {arp{opReply, other, addr, elsewhere}, true},
		"an announcement":             {arp{opRequest, other, addr, addr}, true},
		"a probe at the same time":    {arp{opRequest, other, zero, addr}, true},
		"a probe for another":         {arp{opRequest, other, zero, elsewhere}, false},
		"somebody asks for us":        {arp{opRequest, other, elsewhere, addr}, false},
		"our own probe, come back":    {arp{opRequest, [6]byte(own), zero, addr}, false},
		"our own announcement":        {arp{opRequest, [6]byte(own), addr, addr}, false},
		"a reply from somewhere else": {arp{opReply, other, elsewhere, addr}, false},
	} {
		if got := tc.a.takes(addr, own); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func FuzzParseARP(f *testing.F) {
	good := arp{opRequest, [6]byte{1, 2, 3, 4, 5, 6}, netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("169.254.1.2")}
	f.Add(good.bytes())
	f.Add(append(good.bytes(), make([]byte, 18)...)) // padded to Ethernet's least
	f.Add(good.bytes()[:27])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parseARP(b)
		if !ok {
			return
		}
		if again, ok := parseARP(a.bytes()); !ok || again != a {
			t.Errorf("%+v, then %+v", a, again)
		}
	})
}

func TestConflictsMeanAnotherAddress(t *testing.T) {
	nstest.Require(t, nstest.Net)
	link, peerLink := nettest.Pair(t)
	nettest.Up(t, link, peerLink)
	own := link.Attrs().HardwareAddr
	// The first choice is taken: the kernel answers the probe on peer0.
	first := netip.PrefixFrom(candidate(own, 0), 16)
	addr, err := netlink.ParseAddr(first.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(peerLink, addr); err != nil {
		t.Fatal(err)
	}
	reports := make(chan netip.Prefix, 10)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		Run(ctx, Options{Link: "eth0", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Changed: func(p netip.Prefix) { reports <- p }})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	next := func() netip.Prefix {
		t.Helper()
		select {
		case p := <-reports:
			return p
		case <-time.After(time.Minute): // for a hang
			t.Fatal("no report")
			return netip.Prefix{}
		}
	}
	second := netip.PrefixFrom(candidate(own, 1), 16)
	if got := next(); got != second {
		t.Fatalf("got %s, want the second choice, %s", got, second)
	}
	// Somebody else announces it.
	peer, err := net.InterfaceByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(peer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	s.addr = second.Addr()
	if err := s.send(s.addr); err != nil {
		t.Fatal(err)
	}
	if got := next(); got.IsValid() {
		t.Fatalf("after a conflict %s, want none", got)
	}
	if got, third := next(), netip.PrefixFrom(candidate(own, 2), 16); got != third {
		t.Errorf("got %s, want the third choice, %s", got, third)
	}
}
