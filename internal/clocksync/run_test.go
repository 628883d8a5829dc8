package clocksync

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/event"
)

// world is a machine with a clock that can be wrong and servers that can fail,
// on the time of a synctest bubble: that is the true time.
type world struct {
	mu       sync.Mutex
	error    time.Duration // what the clock shows more than the true time
	synced   bool
	stepErr  error
	steps    []time.Duration
	slews    int
	rtc      int
	poll     int
	servers  map[string]func() (Sample, error) // by address; the offset is the server's own error
	names    map[string][]string
	asked    map[string]int
	events   []event.Event
	dir      string
	log      strings.Builder
	rtcError error
}

func (w *world) Synchronised() bool { return w.synced }

func (w *world) Now() (now time.Time) {
	w.locked(func() { now = time.Now().Add(w.error) })
	return now
}

func (w *world) Emit(e event.Event) {
	w.locked(func() { w.events = append(w.events, e) })
}

func (w *world) SaveRTC() (err error) {
	w.locked(func() { w.rtc++; err = w.rtcError })
	return err
}

func (w *world) Step(by time.Duration) (err error) {
	w.locked(func() {
		if err = w.stepErr; err == nil {
			w.error += by
			w.steps = append(w.steps, by)
		}
	})
	return err
}

func (w *world) Slew(offset time.Duration, poll int, _ time.Duration) error {
	w.locked(func() {
		w.error += offset
		w.slews++
		w.poll = poll
	})
	return nil
}

func (w *world) ask(_ context.Context, a netip.AddrPort, _ time.Time) (s Sample, err error) {
	there := false
	w.locked(func() {
		w.asked[a.String()]++
		if answer := w.servers[a.String()]; answer != nil {
			there = true
			s, err = answer()
			s.Offset -= w.error
		}
	})
	if !there {
		time.Sleep(answerLimit)
		return Sample{}, os.ErrDeadlineExceeded
	}
	return s, err
}

func (w *world) lookup(ctx context.Context, host string) (list []netip.Addr, err error) {
	if w.names[host] == nil {
		<-ctx.Done() // a resolver that never answers
		return nil, ctx.Err()
	}
	for _, a := range w.names[host] {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// right is a server that is right to 10 ms.
func right() (Sample, error) { return Sample{Distance: 10 * time.Millisecond}, nil }

func wrong(by time.Duration) func() (Sample, error) {
	return func() (Sample, error) { return Sample{Offset: by, Distance: 10 * time.Millisecond}, nil }
}

func (w *world) configure(t *testing.T, ntp string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "config.json"), []byte(`{"ntp":`+ntp+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// simulate runs a world for as long as body does. The true time starts in 2000.
func simulate(t *testing.T, w *world, ntp string, floor time.Time, body func()) {
	t.Helper()
	w.asked, w.dir = map[string]int{}, t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w.configure(t, ntp)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(ctx, Options{
				ConfigFile: filepath.Join(w.dir, "config.json"), LeaseFile: filepath.Join(w.dir, "ntp.json"),
				Floor: floor, Clock: w, Sink: w, Ask: w.ask, Lookup: w.lookup,
				Log: slog.New(slog.NewTextHandler(io.MultiWriter(&w.log, t.Output()), nil)),
			})
		}()
		body()
		cancel()
		<-done
	})
}

// pass lets time pass, and everything that is due happen. What the test did
// before happened before that: the mutex says so to the race detector.
func (w *world) pass(d time.Duration) {
	w.locked(func() {})
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) said() string {
	var lines []string
	for _, e := range w.events {
		lines = append(lines, e.Type+" "+e.Name+" "+e.State+" "+e.Message)
	}
	return strings.Join(lines, "\n")
}

func (w *world) expectEvents(t *testing.T, parts ...string) {
	t.Helper()
	said := w.said()
	if len(w.events) != len(parts) {
		t.Fatalf("%d events, want %d:\n%s", len(w.events), len(parts), said)
	}
	for i, part := range parts {
		if line := strings.Split(said, "\n")[i]; !strings.Contains(line, part) {
			t.Errorf("event %d is %q, want %q", i, line, part)
		}
	}
}

func TestFirstSyncFromThePast(t *testing.T) {
	w := &world{error: -30 * 365 * 24 * time.Hour, servers: map[string]func() (Sample, error){"192.0.2.1:123": right}}
	simulate(t, w, `{"servers":["192.0.2.1"]}`, time.Unix(0, 0), func() {
		w.pass(time.Minute)
		w.expectEvents(t, "health clock ok 192.0.2.1 (configuration); stepped by +10950.0 days, from 1970-01-08 00:00:06 to 2000-01-01 00:00:06")
		w.pass(24 * time.Hour)
	})
	if len(w.steps) != 1 || w.error != 0 || w.poll != maxPoll || len(w.events) != 1 || w.log.Len() > 0 {
		t.Errorf("steps %v, error %v, poll %d, events:\n%s\nlog %s", w.steps, w.error, w.poll, w.said(), &w.log)
	}
	// After the step, and every hour since; a poll more may lie in between.
	if w.rtc < 19 || w.rtc > 25 {
		t.Errorf("battery clock set %d times in 24 h", w.rtc)
	}
	// A burst of four every 1024 s and an eighth at most, and closer at first.
	if n := w.asked["192.0.2.1:123"]; n > 4*24*3600/1024+40 {
		t.Errorf("%d requests in 24 h", n)
	}
}

func TestNoNetworkThenLease(t *testing.T) {
	w := &world{error: -time.Hour, servers: map[string]func() (Sample, error){"192.0.2.7:123": right}}
	simulate(t, w, `{}`, time.Time{}, func() {
		w.pass(6 * time.Hour)
		w.expectEvents(t, "health clock waiting no time server answers: time server 0.pool.ntp.org: context deadline exceeded; "+
			"time server 1.pool.ntp.org: context deadline exceeded; and 2 others (default pool)")
		if len(w.steps)+w.slews > 0 {
			t.Error("the clock was set")
		}
		if err := os.WriteFile(filepath.Join(w.dir, "ntp.json"), []byte(`{"servers":["192.0.2.7"]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Minute) // the longest retry, and a look-up that does not end
		w.expectEvents(t, "", "ok 192.0.2.7 (DHCP lease); stepped by +3600.0 s")
		w.servers["192.0.2.7:123"] = nil
		w.pass(time.Hour)
		w.expectEvents(t, "", "", "waiting no time server answers")
		w.servers["192.0.2.7:123"] = right
		w.pass(5 * time.Minute)
		w.expectEvents(t, "", "", "", "ok 192.0.2.7 (DHCP lease); offset +0 us, right to 10.0 ms")
		w.configure(t, `{"disabled":true}`)
		w.pass(time.Hour)
		asked := w.asked["192.0.2.7:123"]
		w.pass(time.Hour)
		w.expectEvents(t, "", "", "", "", "ok not synchronised: switched off by the configuration")
		if w.asked["192.0.2.7:123"] != asked {
			t.Error("asked although it is switched off")
		}
	})
}

func TestOutlierAndDisagreement(t *testing.T) {
	w := &world{servers: map[string]func() (Sample, error){
		"192.0.2.1:123": right, "[2001:db8::2]:1123": right, "192.0.2.3:123": wrong(time.Hour),
	}, names: map[string][]string{"one.example": {"192.0.2.9", "192.0.2.1"}}}
	simulate(t, w, `{"servers":["one.example","[2001:db8::2]:1123","192.0.2.3"]}`, time.Time{}, func() {
		w.pass(10 * time.Minute)
		// one.example's first address does not answer: its second is asked next.
		w.expectEvents(t, "waiting the time servers disagree: 192.0.2.3 says +3600.0 s, [2001:db8::2]:1123 says +0 us; a third one",
			"and another one (configuration)")
		delete(w.servers, "192.0.2.1:123")
		w.pass(time.Hour)
		w.expectEvents(t, "", "", "disagree")
	})
	if len(w.steps) > 0 || w.error != 0 {
		t.Errorf("the clock was stepped by %v", w.steps)
	}
}

// Three names of one machine are one vote.
func TestNamesOfOneServer(t *testing.T) {
	w := &world{servers: map[string]func() (Sample, error){
		"192.0.2.1:123": right, "192.0.2.2:123": right, "192.0.2.3:123": wrong(time.Hour),
	}, names: map[string][]string{"a.example": {"192.0.2.3"}, "b.example": {"::ffff:192.0.2.3"}}}
	simulate(t, w, `{"servers":["192.0.2.1","192.0.2.2","192.0.2.3","a.example","b.example"]}`, time.Time{}, func() {
		w.pass(time.Minute)
		w.expectEvents(t, "ok 192.0.2.1 and another one (configuration)")
	})
	if w.error != 0 {
		t.Errorf("the clock is wrong by %v", w.error)
	}
}

// A server that answers every fourth time only is enough to stay right, and
// machines that start together do not ask together for ever.
func TestSeldomAnswers(t *testing.T) {
	asked := 0
	var gaps []time.Duration
	last := time.Time{}
	w := &world{servers: map[string]func() (Sample, error){"192.0.2.1:123": func() (Sample, error) {
		if since := time.Since(last); since > time.Second<<minPoll {
			if asked++; !last.IsZero() {
				gaps = append(gaps, since)
			}
		}
		last = time.Now()
		if asked%4 != 1 {
			return Sample{}, errors.New("busy")
		}
		return right()
	}}}
	simulate(t, w, `{"servers":["192.0.2.1"]}`, time.Time{}, func() {
		w.pass(time.Hour)
		w.expectEvents(t, "ok 192.0.2.1")
	})
	if len(gaps) < 20 || slices.Min(gaps) == slices.Max(gaps) {
		t.Errorf("pauses between polls: %v", gaps)
	}
}

func TestStepWhileRunning(t *testing.T) {
	w := &world{synced: true, servers: map[string]func() (Sample, error){"192.0.2.1:123": right}, rtcError: errors.New("no battery")}
	simulate(t, w, `{"servers":["192.0.2.1"]}`, time.Time{}, func() {
		w.pass(time.Hour)
		w.error += 20 * time.Second // somebody sets it
		w.pass(20 * time.Minute)
		w.expectEvents(t, "offset +0 us", "offset -20.0 s, right to 10.0 ms: stepped if", "stepped by -20.0 s")
	})
	if len(w.steps) != 1 || strings.Count(w.log.String(), "no battery") != 1 {
		t.Errorf("steps %v, log %s", w.steps, &w.log)
	}
}

func TestPowerlessAndImpossible(t *testing.T) {
	w := &world{error: time.Hour, stepErr: errors.New("operation not permitted"),
		servers: map[string]func() (Sample, error){"192.0.2.1:123": right}}
	simulate(t, w, `{"servers":["192.0.2.1"]}`, time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC), func() {
		w.pass(time.Hour)
		w.expectEvents(t, "waiting operation not permitted")
		w.stepErr = nil
		w.pass(2 * time.Minute)
		w.expectEvents(t, "", "ok 192.0.2.1 (configuration); stepped by -3600.0 s")
		w.servers["192.0.2.1:123"] = wrong(-365 * 24 * time.Hour)
		w.pass(time.Hour)
		w.expectEvents(t, "", "", "waiting the time servers say 1999-01-01, which is before this system was built (1999-06-01) (configuration)")
	})
	if len(w.steps) != 1 {
		t.Errorf("steps %v", w.steps)
	}
}

func TestKissOfDeath(t *testing.T) {
	kiss := func(code string) func() (Sample, error) {
		return func() (Sample, error) { return Sample{}, KissError{code} }
	}
	w := &world{servers: map[string]func() (Sample, error){
		"192.0.2.1:123": kiss("RATE"), "192.0.2.2:123": kiss("DENY"), "192.0.2.3:123": right,
	}}
	simulate(t, w, `{"servers":["192.0.2.1","192.0.2.2","192.0.2.3"]}`, time.Time{}, func() {
		w.pass(23 * time.Hour)
		// 128 s doubled each time: ten times in 23 h, and each may slip by a poll.
		if n := w.asked["192.0.2.1:123"]; n < 7 || n > 10 {
			t.Errorf("RATE: asked %d times", n)
		}
		if n := w.asked["192.0.2.2:123"]; n != 1 {
			t.Errorf("DENY: asked %d times", n)
		}
		w.servers["192.0.2.2:123"] = right
		w.pass(2 * time.Hour)
		if n := w.asked["192.0.2.2:123"]; n < 2 {
			t.Errorf("DENY: asked %d times in 25 h", n)
		}
	})
	if w.slews == 0 || len(w.events) != 1 {
		t.Errorf("%d slews; events:\n%s", w.slews, w.said())
	}
}

func TestBurst(t *testing.T) {
	const ms = time.Millisecond
	list := []Sample{{8 * ms, 40 * ms, 30 * ms}, {2 * ms, 10 * ms, 15 * ms}, {}, {-6 * ms, 50 * ms, 35 * ms}}
	synctest.Test(t, func(t *testing.T) {
		i := -1
		s, err := burst(t.Context(), func(context.Context) (Sample, error) {
			if i++; i == 2 {
				return Sample{}, os.ErrDeadlineExceeded
			}
			return list[i], nil
		})
		// sqrt((6² + 0 + 8²) / 3) ms more than the best one's.
		if err != nil || s.Offset != 2*ms || s.Delay != 10*ms || (s.Distance-15*ms-5773503).Abs() > time.Microsecond {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
