package clocksync

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"
)

// answerTo is a good answer of a server whose clock shows at.
func answerTo(cookie stamp, at time.Time) []byte {
	b := make([]byte, packetSize)
	b[0], b[1], b[3] = 4<<3|modeServer, 2, 0xe9 // precision 2^-23 s
	binary.BigEndian.PutUint32(b[4:], 1<<16/50) // 20 ms to the primary source
	binary.BigEndian.PutUint32(b[8:], 1<<16/100)
	binary.BigEndian.PutUint64(b[24:], uint64(cookie))
	binary.BigEndian.PutUint64(b[32:], uint64(makeStamp(at)))
	binary.BigEndian.PutUint64(b[40:], uint64(makeStamp(at)))
	return b
}

func TestCheck(t *testing.T) {
	const cookie = 0x0123456789abcdef
	kiss := func(code string) func([]byte) {
		return func(b []byte) { b[1] = 0; copy(b[12:], code) }
	}
	for name, tc := range map[string]struct {
		change func([]byte)
		want   string // part of the error
	}{
		"good":                       {func([]byte) {}, ""},
		"version 3":                  {func(b []byte) { b[0] = 3<<3 | modeServer }, ""},
		"leap second announced":      {func(b []byte) { b[0] |= 1 << 6 }, ""},
		"another's answer":           {func(b []byte) { b[24] ^= 1 }, "not an answer"},
		"request":                    {func(b []byte) { b[0] = 4<<3 | modeClient }, "not an answer"},
		"broadcast":                  {func(b []byte) { b[0] = 4<<3 | 5 }, "not an answer"},
		"version 1":                  {func(b []byte) { b[0] = 1<<3 | modeServer }, "version 1"},
		"leap alarm":                 {func(b []byte) { b[0] |= leapAlarm << 6 }, "not synchronised"},
		"stratum 16":                 {func(b []byte) { b[1] = 16 }, "not synchronised"},
		"too far from the reference": {func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3<<15) }, "may be wrong by 1.5"},
		"no receive time":            {func(b []byte) { clear(b[32:40]) }, "no time in it"},
		"no transmit time":           {func(b []byte) { clear(b[40:48]) }, "no time in it"},
		"sent before received":       {func(b []byte) { b[35]++ }, "went back"},
		"RATE":                       {kiss("RATE"), "less often"},
		"DENY":                       {kiss("DENY"), "refuses to answer"},
		"RSTR":                       {kiss("RSTR"), "refuses to answer"},
		"INIT":                       {kiss("INIT"), `no time to give (kiss code "INIT")`},
		"kiss of control characters": {kiss("\x1b[2J"), `no time to give (kiss code "")`},
		"forged kiss":                {func(b []byte) { kiss("DENY")(b); b[24] ^= 1 }, "not an answer"},
	} {
		b := answerTo(cookie, time.Unix(1_770_000_000, 500_000_000))
		tc.change(b)
		p, err := decode(b)
		if err != nil {
			t.Fatal(err)
		}
		err = p.check(cookie)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := decode(make([]byte, packetSize-1)); err == nil {
		t.Error("47 bytes were taken")
	}
}

func TestSample(t *testing.T) {
	sent := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		pivot, server time.Time
		took          time.Duration
	}{
		"small":            {sent, sent.Add(250 * time.Millisecond), 100 * time.Millisecond},
		"behind":           {sent, sent.Add(-time.Hour), 100 * time.Millisecond},
		"years":            {sent, sent.AddDate(15, 0, 0), time.Second}, // the era ends in 2036
		"years back":       {sent.AddDate(-40, 0, 0), sent.AddDate(-50, 0, 0), time.Second},
		"after the era":    {sent.AddDate(60, 0, 0), sent.AddDate(60, 0, 5), time.Second},
		"a clock at 1970":  {sent, sent, 0},
		"a clock too late": {sent, sent, 0},
	} {
		local := sent
		switch name {
		case "a clock at 1970":
			local = time.Unix(0, 0)
		case "a clock too late":
			local = time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		p, err := decode(answerTo(1, tc.server))
		if err != nil {
			t.Fatal(err)
		}
		s := p.sample(local, tc.took, tc.pivot)
		want := tc.server.Sub(local) - tc.took/2 // the way is taken to be as long there as back
		if (s.Offset-want).Abs() > 2 || s.Delay < tc.took-2 || s.Delay > tc.took {
			t.Errorf("%s: offset %v, want %v; delay %v, want %v", name, s.Offset, want, s.Delay, tc.took)
		}
		// Half the way, half the server's 20 ms, its dispersion of 10 ms.
		if low := s.Delay/2 + 19*time.Millisecond; s.Distance < low || s.Distance > low+2*time.Millisecond {
			t.Errorf("%s: distance %v, want a little more than %v", name, s.Distance, low)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(answerTo(1, time.Unix(1_770_000_000, 0)), int64(0), int64(0))
	f.Add(request(7), int64(math.MaxInt64), int64(1))
	f.Add([]byte("short"), int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, sent, took int64) {
		p, err := decode(b)
		if err != nil {
			if len(b) >= packetSize {
				t.Fatalf("%d bytes refused: %v", len(b), err)
			}
			return
		}
		if p.check(p.origin) != nil {
			return
		}
		if took %= int64(answerLimit); took < 0 {
			took = -took
		}
		pivot := time.Unix(sent>>30, 0)
		s := p.sample(time.Unix(sent>>30, sent&0x3fffffff), time.Duration(took), pivot)
		if s.Delay < 0 || s.Distance < s.Delay/2 || s.Distance > s.Delay/2+maxDistance+time.Second {
			t.Errorf("%+v of %+v", s, p)
		}
	})
}

func FuzzStamp(f *testing.F) {
	f.Add(int64(0), uint32(0))
	f.Add(int64(1<<32), uint32(999_999_999))
	f.Fuzz(func(t *testing.T, seconds int64, ns uint32) {
		// 1835 to 2242: whatever era it is in, it comes back.
		at := time.Unix(seconds%(1<<32), int64(ns%1e9))
		for _, pivot := range []time.Time{at, at.Add(-68 * 365 * 24 * time.Hour), at.Add(68 * 365 * 24 * time.Hour)} {
			if d := makeStamp(at).near(pivot).Sub(at); d.Abs() > 2 {
				t.Errorf("%v near %v is off by %v", at.UTC(), pivot.UTC(), d)
			}
		}
	})
}
