package manager

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/netcfg"
)

func network(addrs map[string]string, gateways map[string]int) (netcfg.Want, netcfg.State) {
	var want netcfg.Want
	have := netcfg.State{Links: []netcfg.LinkState{{Index: 1, Name: "lo"}}}
	for i, name := range []string{"eth0", "eth1"} {
		l := netcfg.LinkState{Index: i + 2, Name: name, Up: true, Carrier: true, Physical: true}
		w := netcfg.WantLink{Name: name}
		if a := addrs[name]; a != "" {
			p := netip.MustParsePrefix(a)
			l.Addrs = append(l.Addrs, netcfg.Addr{Prefix: p, Ours: true})
			w.Addrs = append(w.Addrs, p)
		}
		if metric, ok := gateways[name]; ok {
			r := netcfg.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Metric: metric, Protocol: netcfg.ProtoDHCP}
			l.Routes, w.Routes = append(l.Routes, r), append(w.Routes, r)
		}
		have.Links = append(have.Links, l)
		want.Links = append(want.Links, w)
	}
	return want, have
}

func TestChooseNode(t *testing.T) {
	for _, tc := range []struct {
		name             string
		configured, kept string
		addrs            map[string]string
		gateways         map[string]int
		want, source     string
		dummy            string
	}{
		{name: "no network", want: "10.40.0.1", source: "none",
			dummy: "ksolo0: type dummy 10.40.0.1/32 [default proto static metric 1073741824]"},
		{name: "the link with the default route", addrs: map[string]string{"eth0": "10.0.0.5/24", "eth1": "192.168.1.5/24"}, gateways: map[string]int{"eth1": 1026},
			want: "192.168.1.5", source: "chosen", dummy: "ksolo0: absent"},
		{name: "the lower metric", addrs: map[string]string{"eth0": "10.0.0.5/24", "eth1": "192.168.1.5/24"}, gateways: map[string]int{"eth0": 1024, "eth1": 0},
			want: "192.168.1.5", source: "chosen", dummy: "ksolo0: absent"},
		{name: "a private one before a public one", addrs: map[string]string{"eth0": "203.0.113.5/24", "eth1": "192.168.1.5/24"},
			want: "192.168.1.5", source: "chosen", dummy: "ksolo0: type dummy [default proto static metric 1073741824]"},
		{name: "kept through another lease", kept: "192.0.2.5", addrs: map[string]string{"eth0": "192.0.2.6/24"}, gateways: map[string]int{"eth0": 1024},
			want: "192.0.2.5", source: "kept", dummy: "ksolo0: type dummy 192.0.2.5/32"},
		{name: "kept without network", kept: "192.0.2.5", want: "192.0.2.5", source: "kept",
			dummy: "ksolo0: type dummy 192.0.2.5/32 [default proto static metric 1073741824]"},
		{name: "configured wins", configured: "192.0.2.9", kept: "192.0.2.5", addrs: map[string]string{"eth0": "192.0.2.9/24"}, gateways: map[string]int{"eth0": 0},
			want: "192.0.2.9", source: "configured", dummy: "ksolo0: absent"},
		{name: "a kept pod address is dropped", kept: "10.42.0.9", addrs: map[string]string{"eth0": "192.0.2.6/24"}, gateways: map[string]int{"eth0": 1024},
			want: "192.0.2.6", source: "chosen", dummy: "ksolo0: absent"},
		{name: "the fallback is not kept", kept: "10.40.0.1", addrs: map[string]string{"eth0": "192.0.2.6/24"}, gateways: map[string]int{"eth0": 1024},
			want: "192.0.2.6", source: "chosen", dummy: "ksolo0: absent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, have := network(tc.addrs, tc.gateways)
			parse := func(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a }
			n := chooseNode(parse(tc.configured), parse(tc.kept), want, have)
			if n.addr.String() != tc.want || n.source != tc.source {
				t.Errorf("%s (%s), want %s (%s)", n.addr, n.source, tc.want, tc.source)
			}
			d := n.dummy(want, have)
			if got := (netcfg.Want{Links: []netcfg.WantLink{d}}).String(); got != tc.dummy {
				t.Errorf("dummy\n got %s\nwant %s", got, tc.dummy)
			}
		})
	}
}

func TestReadNodeIP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node-ip")
	if a, err := readNodeIP(path); err != nil || a.IsValid() {
		t.Errorf("absent: %s %v", a, err)
	}
	for content, ok := range map[string]bool{"192.0.2.1\n": true, "": false, "nonsense": false, "127.0.0.1": false, "2001:db8::1": false, "169.254.1.1": false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := readNodeIP(path); (err == nil) != ok {
			t.Errorf("%q: %s %v", content, a, err)
		}
	}
}

func TestFiles(t *testing.T) {
	addrs := func(s string) (out []netip.Addr) {
		for f := range strings.FieldsSeq(s) {
			out = append(out, netip.MustParseAddr(f))
		}
		return out
	}
	got := usable(addrs("127.0.0.53 fe80::1%eth0 2001:db8::53 192.0.2.53 192.0.2.53 0.0.0.0 169.254.169.254 224.0.0.1 192.0.2.54"))
	body := Resolv(got, []string{"a.example", "b.example"}, netip.Addr{})
	want := "nameserver 192.0.2.53\nnameserver 169.254.169.254\nnameserver 192.0.2.54\nsearch a.example b.example\n"
	if _, rest, _ := strings.Cut(body, "\n"); rest != want {
		t.Errorf("resolv.conf:\n%s", body)
	}
	if body := Resolv(nil, nil, netip.MustParseAddr("192.0.2.5")); !strings.HasSuffix(body, "resolve\nnameserver 192.0.2.5\n") {
		t.Errorf("without servers:\n%s", body)
	}
	if h := Hosts("box.example", netip.MustParseAddr("192.0.2.5")); !strings.HasSuffix(h, "\n192.0.2.5 box.example box\n") {
		t.Errorf("hosts:\n%s", h)
	}
	if h := Hosts("box", netip.Addr{}); !strings.Contains(h, "127.0.1.1 box\n") {
		t.Errorf("hosts without address:\n%s", h)
	}
}

func TestCollisions(t *testing.T) {
	want := netcfg.Want{Links: []netcfg.WantLink{{
		Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.42.7.5/24"), netip.MustParsePrefix("192.0.2.5/24")},
		Routes: []netcfg.Route{{Dst: netip.MustParsePrefix("10.43.1.0/24")}, {Dst: netip.MustParsePrefix("0.0.0.0/0")}},
	}}}
	got := strings.Join(collisions(want), "\n")
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "10.42.7.0/24 collides with the range of pods") || !strings.Contains(got, "10.43.1.0/24 collides with the range of services") {
		t.Errorf("got\n%s", got)
	}
}
