package dhcp6

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func u32(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func address(a string, valid uint32) option {
	return option{optIAAddr, slices.Concat(netip.MustParseAddr(a).AsSlice(), u32(valid, valid))}
}

func association(t1, t2 uint32, options ...option) option {
	return option{optIANA, appendOptions(u32(7, t1, t2), options)}
}

func reply(options ...option) message {
	return message{kind: msgReply, xid: [3]byte{1, 2, 3}, options: append([]option{{optServerID, []byte("server")}}, options...)}
}

func addrs(list ...string) []byte {
	var b []byte
	for _, a := range list {
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	return b
}

func iaid() [4]byte { return [4]byte{0, 0, 0, 7} }

func TestParseLease(t *testing.T) {
	names := []option{
		{optDNS, addrs("2001:db8::53", "::1", "fe80::1", "2001:db8::53", "2001:db8::54")},
		{optSearch, []byte("\x01a\x07example\x00\x07bad one\x00\x01b\x07example\x00")},
		{optNTP, appendOptions(nil, []option{{ntpServerAddr, addrs("2001:db8::123")}, {3, []byte("x")}})},
	}
	m := reply(append(names, association(100, 200, address("2001:db8::10", 7200), address("2001:db8::11", 3600), address("::1", 60), address("2001:db8::12", 0)))...)
	m, err := parseMessage(m.bytes())
	if err != nil {
		t.Fatal(err)
	}
	l, err := parseLease(m, iaid(), false)
	if err != nil {
		t.Fatal(err)
	}
	if l.String() != "2001:db8::10, 2001:db8::11, dns 2001:db8::53, dns 2001:db8::54, for 1h0m0s" || l.T1 != 100*time.Second || l.T2 != 200*time.Second {
		t.Errorf("%s T1 %s T2 %s", l, l.T1, l.T2)
	}
	if strings.Join(l.Search, " ") != "a.example b.example" || len(l.NTP) != 1 {
		t.Errorf("search %q ntp %v", l.Search, l.NTP)
	}
	if l, err := parseLease(reply(association(0, 0, address("2001:db8::10", 1))), iaid(), false); err != nil || l.Lifetime != time.Minute || l.T1 != 30*time.Second || l.T2 != 48*time.Second {
		t.Errorf("%v: %+v", err, l)
	}
	if l, err := parseLease(reply(names[0], option{optRefreshTime, u32(60)}), iaid(), true); err != nil || l.Lifetime != minRefresh || len(l.DNS) != 2 {
		t.Errorf("%v: %+v", err, l)
	}
}

func TestParseLeaseRefuses(t *testing.T) {
	other := association(0, 0, address("2001:db8::10", 100))
	other.data = slices.Clone(other.data)
	other.data[3] = 8
	for want, m := range map[string]message{
		"no addresses available": reply(association(0, 0, option{optStatus, []byte("\x00\x02none left")})),
		`"go away"`:              reply(option{optStatus, []byte("\x00\x01go away")}),
		"status 77":              reply(option{optStatus, []byte{0, 77}}),
		"gave no address":        reply(other),
		"malformed address":      reply(option{optIANA, append(u32(7, 0, 0), 0, 5, 0, 99)}),
		"who it is":              {kind: msgReply},
	} {
		if l, err := parseLease(m, iaid(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %s", want, err, l)
		}
	}
	for _, b := range []string{"", "\x07\x00\x00", "\x07\x00\x00\x00\x00", "\x07\x00\x00\x00\x00\x01\x00\x05abcd"} {
		if m, err := parseMessage([]byte(b)); err == nil {
			t.Errorf("%q was read as %+v", b, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(reply(association(1, 2, address("2001:db8::10", 100))).bytes(), false)
	f.Add(reply(option{optDNS, addrs("2001:db8::53")}, option{optSearch, []byte("\xc0\x00")}).bytes(), true)
	f.Add(reply(option{optNTP, []byte{0, 1, 0, 16}}, option{optRefreshTime, []byte{1}}).bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, stateless bool) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if !slices.Equal(m.bytes(), b) {
			t.Errorf("%x is written as %x", b, m.bytes())
		}
		l, err := parseLease(m, iaid(), stateless)
		if err != nil {
			return
		}
		if l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.Lifetime {
			t.Errorf("times %s %s %s", l.T1, l.T2, l.Lifetime)
		}
		for _, a := range slices.Concat(l.Addresses, l.DNS, l.NTP) {
			if !a.IsGlobalUnicast() {
				t.Errorf("address %s", a)
			}
		}
		if strings.ContainsAny(strings.Join(l.Search, ""), " \n;#") {
			t.Errorf("search %q", l.Search)
		}
	})
}
