package manager

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/netcfg"
	"kubesolo.io/os/internal/netcfg/dhcp"
	"kubesolo.io/os/internal/netcfg/dhcp6"
	"kubesolo.io/os/internal/netcfg/rdnss"
)

// Which link the kernel found first, and when each lease came, must not change
// who is asked for names: the order is that of the configuration.
func TestNamesHaveOneOrder(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	conf := netcfg.Config{Links: []netcfg.Link{
		{ID: "deaf", Match: netcfg.Match{Name: "eth3"}, AcceptRA: new(false)},
		{ID: "wan", Match: netcfg.Match{Name: "eth[12]"}, DHCP4: true, DHCP6: true},
		{ID: "eth0", DHCP4: true, Nameservers: addrs("10.0.0.1"), Search: []string{"static.example"}},
	}}
	links := []netcfg.LinkState{{Index: 2, Name: "eth0"}, {Index: 3, Name: "eth1"}, {Index: 4, Name: "eth2"}, {Index: 5, Name: "eth3"}}
	r := &runner{config: conf, clients: map[string]*client{
		"eth0": {lease: &dhcp.Lease{DNS: addrs("192.0.2.1"), Search: []string{"zero.example"}}},
		"eth1": {lease: &dhcp.Lease{DNS: addrs("192.0.2.2", "10.0.0.1"), Search: []string{"one.example", "static.example"}}},
		"eth2": {lease: &dhcp.Lease{DNS: addrs("192.0.2.3")}, lease6: &dhcp6.Lease{DNS: addrs("2001:db8::53"), Search: []string{"six.example"}}},
	}, advertised: map[int]rdnss.Names{
		2: {DNS: addrs("2001:db8::1"), Search: []string{"router.example", "six.example"}},
		5: {Search: []string{"unheard.example"}},
	}}
	for range 2 {
		var s Status
		r.names(&s, netcfg.State{Links: links})
		if got := strings.Join(s.Search, " "); got != "static.example one.example zero.example six.example router.example" {
			t.Errorf("search %s", got)
		}
		if want := addrs("10.0.0.1", "192.0.2.2", "192.0.2.3"); !slices.Equal(s.DNS, want) { // of five, the three that a resolver takes
			t.Errorf("servers %v, want %v", s.DNS, want)
		}
		slices.Reverse(links)
	}
}
