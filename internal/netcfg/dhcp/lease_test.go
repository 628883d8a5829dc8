package dhcp_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"kubesolo.io/os/internal/netcfg/dhcp"
)

func ack(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	base := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
	}
	m, err := dhcpv4.New(append(base, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParse(t *testing.T) {
	router := dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)))
	_, subnet, _ := net.ParseCIDR("198.51.100.0/24")
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	for _, tc := range []struct {
		name string
		mods []dhcpv4.Modifier
		want string
	}{
		{"bare", nil, "192.0.2.10/24 from 192.0.2.1 for 1h0m0s"},
		{"router", []dhcpv4.Modifier{router}, "192.0.2.10/24 from 192.0.2.1 for 1h0m0s, default via 192.0.2.1"},
		{"classless routes win over the router", []dhcpv4.Modifier{router, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: subnet, Router: net.IPv4zero}, &dhcpv4.Route{Dest: all, Router: net.IPv4(192, 0, 2, 9)},
			&dhcpv4.Route{Dest: all, Router: net.IPv4(192, 0, 2, 8)}))},
			"192.0.2.10/24 from 192.0.2.1 for 1h0m0s, 198.51.100.0/24, default via 192.0.2.9"},
		{"useless servers", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(127, 0, 0, 53), net.IPv4zero, net.IPv4(192, 0, 2, 3), net.IPv4(192, 0, 2, 3)))},
			"192.0.2.10/24 from 192.0.2.1 for 1h0m0s, dns 192.0.2.3"},
		{"no mask", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.IPMask{}))}, "192.0.2.10/24 from 192.0.2.1 for 1h0m0s"},
		{"one second", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(1)}, "192.0.2.10/24 from 192.0.2.1 for 1m0s"},
	} {
		l, err := dhcp.Parse(ack(t, tc.mods...))
		if err != nil || l.String() != tc.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tc.name, err, l, tc.want)
		}
	}
	for name, m := range map[string]*dhcpv4.DHCPv4{
		"an offer":             ack(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer)),
		"no address":           ack(t, dhcpv4.WithYourIP(net.IPv4zero)),
		"loopback":             ack(t, dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))),
		"a mask with holes":    ack(t, dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.IPv4Mask(255, 0, 255, 0)))),
		"a mask without a bit": ack(t, dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.IPv4Mask(0, 0, 0, 0)))),
	} {
		if l, err := dhcp.Parse(m); err == nil {
			t.Errorf("%s accepted: %s", name, l)
		}
	}
}

func TestParseNamesCannotInject(t *testing.T) {
	l, err := dhcp.Parse(ack(t, dhcpv4.WithOption(dhcpv4.OptDomainName("good.example bad\nnameserver;x also.good."))))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.Search, " "); got != "good.example bad also.good" {
		t.Errorf("search %q", got)
	}
	l, err = dhcp.Parse(ack(t,
		dhcpv4.WithOption(dhcpv4.OptDomainName("ignored.example")),
		dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"a.example", "b c.example", "b.example"}}))))
	if err != nil || strings.Join(l.Search, " ") != "a.example b.example" {
		t.Errorf("%v, search %q", err, l.Search)
	}
}

func TestParseTimes(t *testing.T) {
	secs := func(code dhcpv4.OptionCode, n byte) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptGeneric(code, []byte{0, 0, n, 0}))
	}
	l, err := dhcp.Parse(ack(t, dhcpv4.WithLeaseTime(8000), secs(dhcpv4.OptionRenewTimeValue, 1), secs(dhcpv4.OptionRebindingTimeValue, 2)))
	if err != nil || l.T1 != 256*time.Second || l.T2 != 512*time.Second {
		t.Errorf("%v: T1 %s T2 %s", err, l.T1, l.T2)
	}
	// T2 before T1: the server's times make no sense, so RFC 2131's are used.
	l, err = dhcp.Parse(ack(t, dhcpv4.WithLeaseTime(8000), secs(dhcpv4.OptionRenewTimeValue, 2), secs(dhcpv4.OptionRebindingTimeValue, 1)))
	if err != nil || l.T1 != 4000*time.Second || l.T2 != 7000*time.Second {
		t.Errorf("%v: T1 %s T2 %s", err, l.T1, l.T2)
	}
}

func FuzzFromBytes(f *testing.F) {
	f.Add(ack(f).ToBytes())
	f.Add(ack(f, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{33, 1, 2, 3, 4, 5, 6, 7, 8, 9}))).ToBytes())
	f.Add(ack(f, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionDNSDomainSearchList, []byte{0xc0, 0}))).ToBytes())
	f.Add(ack(f, dhcpv4.WithLeaseTime(0xffffffff)).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := dhcp.FromBytes(b)
		if err != nil {
			return
		}
		if !l.Address.IsValid() || !l.Address.Addr().IsGlobalUnicast() {
			t.Errorf("address %s", l.Address)
		}
		if l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.Lifetime {
			t.Errorf("times %s %s %s", l.T1, l.T2, l.Lifetime)
		}
		for _, r := range l.Routes {
			if r.Dst != r.Dst.Masked() {
				t.Errorf("route %s", r)
			}
		}
		for _, s := range l.Search {
			if strings.ContainsAny(s, " \n;#") {
				t.Errorf("search %q", s)
			}
		}
		if _, err := dhcp.FromBytes(l.ACK); err != nil {
			t.Errorf("the kept answer is not readable: %v", err)
		}
	})
}
