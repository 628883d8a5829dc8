package supervise

import (
	"strings"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	p := RestartPolicy{Min: time.Second, Max: 10 * time.Second, ResetAfter: time.Minute, Limit: 3}
	for _, tc := range []struct {
		name     string
		policy   RestartPolicy
		failures int
		ran      time.Duration
		want     Decision
	}{
		{"first", p, 0, 0, Decision{Failures: 1, Restart: true, After: time.Second}},
		{"second doubles", p, 1, 0, Decision{Failures: 2, Restart: true, After: 2 * time.Second}},
		{"limit escalates", p, 2, 0, Decision{Failures: 3, Restart: true, After: 10 * time.Second, Escalate: true}},
		{"at most Max", p, 20, 0, Decision{Failures: 21, Restart: true, After: 10 * time.Second, Escalate: true}},
		{"decay halves", p, 8, 3 * time.Minute, Decision{Failures: 2, Restart: true, After: 2 * time.Second}},
		{"a long run forgets", p, 8, time.Hour, Decision{Failures: 1, Restart: true, After: time.Second}},
		{"zero policy", RestartPolicy{}, 0, 0, Decision{Failures: 1, Restart: true, After: time.Second}},
		{"zero policy, much later", RestartPolicy{}, 99, 0, Decision{Failures: 100, Restart: true, After: time.Minute, Escalate: true}},
		{"one-shot", RestartPolicy{Never: true}, 0, 0, Decision{}},
	} {
		if got := tc.policy.Next(tc.failures, tc.ran); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// Whatever the history, the wait stays in its bounds and the count never
// grows by more than one.
func FuzzNext(f *testing.F) {
	f.Add(3, int64(time.Minute), int64(time.Second), int64(time.Minute), 5)
	f.Fuzz(func(t *testing.T, failures int, ran, lo, hi int64, limit int) {
		if failures < 0 || failures > 1<<30 || lo <= 0 || hi < lo || ran < 0 || limit < 1 {
			t.Skip()
		}
		p := RestartPolicy{Min: time.Duration(lo), Max: time.Duration(hi), Limit: limit}
		d := p.Next(failures, time.Duration(ran))
		if d.After < p.Min || d.After > p.Max || d.Failures < 1 || d.Failures > failures+1 || !d.Restart {
			t.Errorf("%+v", d)
		}
	})
}

func TestValidate(t *testing.T) {
	good := Service{Name: "a", Argv: []string{"/bin/a"}}
	for want, list := range map[string][]Service{
		"empty or taken":      {good, good},
		"no absolute program": {{Name: "x", Argv: []string{"x"}}},
		`needs "b"`:           {{Name: "x", Argv: []string{"/x"}, Needs: []string{"b"}}},
	} {
		if err := Validate(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := Validate([]Service{good, {Name: "b", Argv: []string{"/b"}, Needs: []string{"a"}}}); err != nil {
		t.Error(err)
	}
}

func TestServiceString(t *testing.T) {
	s := Service{Name: "containerd", Argv: []string{"/usr/local/bin/containerd", "--config", "/c"},
		Ready: Probe{Network: "unix", Address: "/run/c.sock"}, Stop: StopPolicy{KeepChildren: true}}
	want := "containerd: /usr/local/bin/containerd --config /c; needs -; ready unix:/run/c.sock; alive not asked; " +
		"restart always 1s..1m0s, failed at 5, halved every 1m0s; stop TERM, 20s, TERM, 5s, KILL the process; limits -; oom score 0"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
