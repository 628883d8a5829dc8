package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func sleep(d time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func mustNew(t *testing.T, steps ...Step) *Sequence {
	t.Helper()
	q, err := New(steps...)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func states(results []Result) string {
	var out []string
	for _, r := range results {
		out = append(out, r.Step+"="+string(r.State))
	}
	return strings.Join(out, " ")
}

func TestNewRefuses(t *testing.T) {
	run := sleep(0, nil)
	for want, steps := range map[string][]Step{
		"two steps are named":   {{Name: "a", Run: run}, {Name: "a", Run: run}},
		`refers to "b"`:         {{Name: "a", Needs: []string{"b"}, Run: run}, {Name: "b", Run: run}},
		`refers to "a"`:         {{Name: "a", After: []string{"a"}, Run: run}},
		"no name or nothing to": {{Name: "a"}},
	} {
		if _, err := New(steps...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestStringIsThePlan(t *testing.T) {
	q := mustNew(t, Step{Name: "modules", Run: sleep(0, nil)},
		Step{Name: "data", Needs: []string{"modules"}, After: []string{"modules"}, Timeout: time.Minute, OnError: Degrade, Run: sleep(0, nil)})
	want := "STEP     NEEDS    AFTER    LIMIT  ON FAILURE\n" +
		"modules  -        -        30s    fatal\n" +
		"data     modules  modules  1m0s   degrade\n"
	if got := q.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A chain of 4 s and one of 3 s beside each other take 4 s, and a step starts
// when its own needs end, not when those of its neighbours do.
func TestRunsConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mustNew(t,
			Step{Name: "a", Run: sleep(3*time.Second, nil)},
			Step{Name: "b", Run: sleep(time.Second, nil)},
			Step{Name: "a2", Needs: []string{"a"}, Run: sleep(time.Second, nil)},
			Step{Name: "b2", Needs: []string{"b"}, Run: sleep(2*time.Second, nil)})
		begin := time.Now()
		results, err := q.Run(t.Context(), func(Result) {})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("took %v, want 4s", d)
		}
		for _, r := range results {
			if r.Step == "b2" && (r.Start != time.Second || r.Duration != 2*time.Second) {
				t.Errorf("b2 ran at %v for %v", r.Start, r.Duration)
			}
		}
		if got, want := Timeline(results), "a 3.000s, b2 2.000s, b 1.000s, a2 1.000s"; got != want {
			t.Errorf("timeline %q, want %q", got, want)
		}
	})
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name  string
		steps []Step
		want  string
		fatal string
	}{
		{"degraded step: needs are skipped, after goes on", []Step{
			{Name: "x", OnError: Degrade, Run: sleep(1, boom)},
			{Name: "needs", Needs: []string{"x"}, OnError: Degrade, Run: sleep(1, nil)},
			{Name: "needs2", Needs: []string{"needs"}, OnError: Degrade, Run: sleep(1, nil)},
			{Name: "after", After: []string{"x", "needs2"}, Run: sleep(1, nil)},
		}, "x=degraded needs=skipped needs2=skipped after=ok", ""},
		{"lesser result: needs run", []Step{
			{Name: "x", Run: sleep(1, fmt.Errorf("data: %w", Degraded(boom)))},
			{Name: "needs", Needs: []string{"x"}, Run: sleep(1, nil)},
		}, "x=degraded needs=ok", ""},
		{"fatal step: others are cancelled, none starts", []Step{
			{Name: "x", Run: sleep(time.Second, boom)},
			{Name: "slow", OnError: Degrade, Run: sleep(time.Hour, nil)},
			{Name: "later", After: []string{"x"}, Run: sleep(0, nil)},
		}, "x=failed slow=degraded", "x: boom"},
		{"a fatal step may not be skipped", []Step{
			{Name: "x", OnError: Degrade, Run: sleep(1, boom)},
			{Name: "needs", Needs: []string{"x"}, Run: sleep(1, nil)},
		}, "x=degraded needs=failed", "needs: needs x"},
		{"panic", []Step{
			{Name: "x", Run: func(context.Context) error { panic("nil link") }},
		}, "x=failed", "x: panic: nil link"},
		{"time limit", []Step{
			{Name: "x", Timeout: 5 * time.Second, Run: sleep(time.Hour, nil)},
		}, "x=failed", "x: did not end within 5s"},
		{"time limit of a step that does not listen", []Step{
			{Name: "x", OnError: Degrade, Run: func(context.Context) error { time.Sleep(time.Hour); return nil }},
			{Name: "after", After: []string{"x"}, Run: sleep(1, nil)},
		}, "x=degraded after=ok", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				results, err := mustNew(t, tc.steps...).Run(t.Context(), func(Result) {})
				if got := states(results); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
				time.Sleep(2 * time.Hour) // let the steps left behind end
				switch {
				case tc.fatal == "" && err != nil:
					t.Error(err)
				case tc.fatal != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.fatal)):
					t.Errorf("got %v, want %q", err, tc.fatal)
				}
			})
		})
	}
}

func TestCancelledFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results, err := mustNew(t, Step{Name: "x", OnError: Degrade, Run: sleep(time.Hour, nil)},
			Step{Name: "y", After: []string{"x"}, Run: sleep(0, nil)}).Run(ctx, func(Result) {})
		if !errors.Is(err, context.DeadlineExceeded) || states(results) != "x=degraded" {
			t.Errorf("got %v, %s", err, states(results))
		}
	})
}

func TestObserveAndNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		q := mustNew(t, Step{Name: "x", Run: func(ctx context.Context) error {
			Note(ctx, "%d keys", 3)
			return nil
		}})
		results, err := q.Run(t.Context(), func(r Result) { seen = append(seen, string(r.State)) })
		if err != nil || !slices.Equal(seen, []string{"started", "ok"}) {
			t.Errorf("seen %q, %v", seen, err)
		}
		if !slices.Equal(results[0].Notes, []string{"3 keys"}) {
			t.Errorf("notes %q", results[0].Notes)
		}
		Note(t.Context(), "outside of a step") // must not panic
	})
}
