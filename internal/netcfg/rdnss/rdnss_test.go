package rdnss

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const forEver = 1<<32 - 1

// rdnss and dnssl are options as a router sends them.
func rdnss(seconds uint32, servers ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{optRDNSS, byte(1 + 2*len(servers)), 0, 0}, seconds)
	for _, s := range servers {
		b = append(b, netip.MustParseAddr(s).AsSlice()...)
	}
	return b
}

func dnssl(seconds uint32, names ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{optDNSSL, 0, 0, 0}, seconds)
	for _, n := range names {
		for label := range strings.SplitSeq(n, ".") {
			b = append(append(b, byte(len(label))), label...)
		}
		b = append(b, 0)
	}
	for len(b)%optionUnit != 0 {
		b = append(b, 0)
	}
	b[1] = byte(len(b) / optionUnit)
	return b
}

// message is what the kernel makes of it.
func message(link int, router string, options ...[]byte) []byte {
	all := slices.Concat(options...)
	b := []byte{familyIPv6, 0}
	b = binary.NativeEndian.AppendUint16(b, uint16(len(all)))
	b = binary.NativeEndian.AppendUint32(b, uint32(link))
	b = append(b, typeAdvertisement, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, all...)
	b = binary.NativeEndian.AppendUint16(b, attrHeaderSize+16)
	b = binary.NativeEndian.AppendUint16(b, attrSource)
	return append(b, netip.MustParseAddr(router).AsSlice()...)
}

func TestParse(t *testing.T) {
	long := strings.Repeat("abcdefgh.", 28) + "xy"
	for _, tc := range []struct {
		name    string
		message []byte
		want    string
	}{
		{"both", message(7, "fe80::1", rdnss(600, "2001:db8::53", "fd00::53"), dnssl(300, "a.example", "b.example")),
			"7 fe80::1 [{10m0s [2001:db8::53 fd00::53] []} {5m0s [] [a.example b.example]}]"},
		{"for ever is a week", message(7, "fe80::1", rdnss(forEver, "2001:db8::53")), "7 fe80::1 [{168h0m0s [2001:db8::53] []}]"},
		{"taken back", message(7, "fe80::1", rdnss(0, "2001:db8::53")), "7 fe80::1 [{0s [2001:db8::53] []}]"},
		{"servers that cannot be used", message(7, "fe80::1", rdnss(9, "fe80::1", "::1", "ff02::1", "::", "::ffff:192.0.2.1", "2001:db8::53", "2001:db8::53")),
			"7 fe80::1 [{9s [2001:db8::53] []}]"},
		{"domains that cannot be used", message(7, "fe80::1", dnssl(9, "a b.example", "c;d", "good.example", "good.example", long)), "7 fe80::1 [{9s [] [good.example]}]"},
		{"a domain without end", message(7, "fe80::1", []byte{optDNSSL, 2, 0, 0, 0, 0, 0, 9, 1, 'a', 0, 4, 'b', 'c', 'd', 'e'}), "7 fe80::1 [{9s [] [a]}]"},
		{"a label longer than the rest", message(7, "fe80::1", []byte{optDNSSL, 2, 0, 0, 0, 0, 0, 9, 1, 'a', 0, 63, 'b', 'c', 'd', 'e'}), "7 fe80::1 [{9s [] [a]}]"},
		{"a pointer, which is not allowed here", message(7, "fe80::1", []byte{optDNSSL, 2, 0, 0, 0, 0, 0, 9, 1, 'a', 0, 0xc0, 0, 0, 0, 0}), "7 fe80::1 [{9s [] [a]}]"},
		{"half an address", message(7, "fe80::1", append([]byte{optRDNSS, 4, 0, 0, 0, 0, 0, 9}, rdnss(0, "2001:db8::53", "2001:db8::54")[8:32]...)), "7 fe80::1 [{9s [2001:db8::53] []}]"},
		{"nothing in it", message(7, "fe80::1", rdnss(9)), "7 fe80::1 []"},
		{"another option", message(7, "fe80::1", []byte{38, 2, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8}, rdnss(9, "2001:db8::53")), "7 fe80::1 [{9s [2001:db8::53] []}]"},
		{"no options", message(7, "fe80::1"), "7 fe80::1 []"},
		{"too long a list", message(7, "fe80::1", rdnss(9, many(20)...)), "7 fe80::1 [{9s [" + strings.Join(many(maxList), " ") + "] []}]"},

		{"empty", nil, "a message of 0 bytes has no header"},
		{"a header alone", message(7, "fe80::1")[:headerSize], "the message does not say which router it is from"},
		{"half a header", message(7, "fe80::1")[:headerSize-1], "a message of 15 bytes has no header"},
		{"another message", append([]byte{familyIPv6, 0, 0, 0, 0, 0, 0, 0, 135}, make([]byte, 7)...), "family 10, type 135: not a router advertisement"},
		{"options cut off", message(7, "fe80::1", rdnss(9, "2001:db8::53"))[:headerSize+8], "the options are longer than the message"},
		{"an option without length", message(7, "fe80::1", []byte{optRDNSS, 0, 0, 0, 0, 0, 0, 9}), "an option is empty or longer than the message"},
		{"an option too long", message(7, "fe80::1", []byte{optRDNSS, 3, 0, 0, 0, 0, 0, 9}), "an option is empty or longer than the message"},
		{"an option too short", message(7, "fe80::1", []byte{optRDNSS, 1, 0, 0}), "an option is empty or longer than the message"},
	} {
		a, err := parse(tc.message)
		got := fmt.Sprint(err)
		if err == nil {
			var options []string
			for _, o := range a.options {
				options = append(options, fmt.Sprint("{", o.lifetime, " ", o.servers, " ", o.domains, "}"))
			}
			got = fmt.Sprint(a.link, " ", a.router, " ", options)
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("2001:db8::%x", i+1))
	}
	return out
}

func FuzzParse(f *testing.F) {
	f.Add(message(2, "fe80::1", rdnss(forEver, "2001:db8::53"), dnssl(9, "a.example")))
	f.Add(message(2, "fe80::1", []byte{optDNSSL, 2, 0, 0, 0, 0, 0, 9, 0xc0, 8, 0, 0, 0, 0, 0, 0}))
	f.Add(append(message(2, "fe80::1"), 3, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parse(b)
		if err != nil {
			return
		}
		known := table{}
		known.hear(a, time.Time{}.Add(time.Hour))
		n := known.names()[a.link]
		if len(n.DNS)+len(n.Search) > maxEntries {
			t.Errorf("%d servers and %d domains", len(n.DNS), len(n.Search))
		}
		for _, s := range n.DNS {
			if !s.IsGlobalUnicast() || s.Zone() != "" {
				t.Errorf("server %s", s)
			}
		}
		if strings.ContainsAny(strings.Join(n.Search, ""), " \n;#") {
			t.Errorf("search %q", n.Search)
		}
		known.expire(time.Time{}.Add(time.Hour + maxLifetime))
		if len(known) != 0 {
			t.Errorf("left after a week: %v", known)
		}
	})
}

// A life of two routers on one link and one on another: what each says lasts for
// its own time, and the order stays as it was.
func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		messages := make(chan []byte)
		var mu sync.Mutex
		now, reports := map[int]Names{}, 0
		go Run(ctx, messages, slog.New(slog.DiscardHandler), func(n map[int]Names) {
			mu.Lock()
			defer mu.Unlock()
			now, reports = n, reports+1
		})
		hear := func(b []byte) {
			messages <- b
			synctest.Wait()
		}
		want := func(what string, wantReports int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := fmt.Sprint(now); got != what || reports != wantReports {
				t.Errorf("after %d reports %s\nwant %d, %s", reports, got, wantReports, what)
			}
		}
		hear(message(2, "fe80::1", rdnss(60, "2001:db8::1", "2001:db8::2")))
		hear(message(2, "fe80::1", dnssl(60, "a.example")))
		want("map[2:{[2001:db8::1 2001:db8::2] [a.example]}]", 2)
		hear(message(2, "fe80::2", rdnss(600, "2001:db8::3", "2001:db8::1")))
		hear(message(3, "fe80::1", rdnss(600, "2001:db8::9")))
		hear([]byte("nonsense"))
		want("map[2:{[2001:db8::1 2001:db8::2 2001:db8::3] [a.example]} 3:{[2001:db8::9] []}]", 4)

		// Said again half-way, in another order: no news.
		time.Sleep(30 * time.Second)
		hear(message(2, "fe80::1", rdnss(60, "2001:db8::2", "2001:db8::1")))
		want("map[2:{[2001:db8::1 2001:db8::2 2001:db8::3] [a.example]} 3:{[2001:db8::9] []}]", 4)
		time.Sleep(29 * time.Second)
		want("map[2:{[2001:db8::1 2001:db8::2 2001:db8::3] [a.example]} 3:{[2001:db8::9] []}]", 4)
		time.Sleep(time.Second) // the domain was not said again
		want("map[2:{[2001:db8::1 2001:db8::2 2001:db8::3] []} 3:{[2001:db8::9] []}]", 5)

		// Taken back by one router, and still meant by the other.
		hear(message(2, "fe80::1", rdnss(0, "2001:db8::1")))
		want("map[2:{[2001:db8::2 2001:db8::3 2001:db8::1] []} 3:{[2001:db8::9] []}]", 6)
		hear(message(2, "fe80::2", rdnss(0, "2001:db8::1", "2001:db8::7")))
		want("map[2:{[2001:db8::2 2001:db8::3] []} 3:{[2001:db8::9] []}]", 7)
		time.Sleep(30 * time.Second)
		want("map[2:{[2001:db8::3] []} 3:{[2001:db8::9] []}]", 8)
		time.Sleep(time.Hour)
		want("map[]", 9)

		// However much is said, there is an end to it.
		for i := range 100 {
			hear(message(2, fmt.Sprintf("fe80::%x", i+1), rdnss(forEver, many(i%maxList+1)...)))
		}
		full := fmt.Sprintf("map[2:{%v []}]", many(7)) // of seven routers and a half
		want(full, 16)
		time.Sleep(maxLifetime - time.Second)
		want(full, 16)
		time.Sleep(time.Second)
		want("map[]", 17)
	})
}
