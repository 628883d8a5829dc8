package lifecycle

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	hangs      = time.Hour
	testBudget = 11 * time.Second
)

// stopping takes after to return once it was told to stop.
func stopping(name string, log *record, limit, reserve, after time.Duration) Component {
	return Component{
		Name: name, StopTimeout: limit, StopReserve: reserve,
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			log.add("told " + name)
			time.Sleep(after)
			log.add("end " + name)
			return nil
		},
	}
}

func TestStopKeepsTheBudget(t *testing.T) {
	tests := map[string]struct {
		takes [5]time.Duration // store api a b c
		hurry time.Duration    // after the stop began, 0 for never
		took  time.Duration
		left  []string // behind, in the order of the stop
	}{
		"all fast":       {},
		"one hangs":      {takes: [5]time.Duration{0, 0, 0, 0, hangs}, took: 3 * time.Second, left: []string{"c"}},
		"one is slow":    {takes: [5]time.Duration{0, 5 * time.Second}, took: 5 * time.Second},
		"the last hangs": {takes: [5]time.Duration{hangs}, took: 5 * time.Second, left: []string{"store"}},
		// 3 s for c, the 2 s that are not reserved for b, none for a.
		"several hang": {
			takes: [5]time.Duration{3900 * time.Millisecond, hangs, hangs, hangs, hangs},
			took:  10900 * time.Millisecond, left: []string{"c", "b", "a", "api"},
		},
		"all hang": {
			takes: [5]time.Duration{hangs, hangs, hangs, hangs, hangs},
			took:  testBudget, left: []string{"c", "b", "a", "api", "store"},
		},
		// What others did not use is there for the last, up to its own limit.
		"one hangs, two are slow": {
			takes: [5]time.Duration{4900 * time.Millisecond, 0, 0, time.Second, hangs},
			took:  8900 * time.Millisecond, left: []string{"c"},
		},
		// Reserves are for orderly ends: a second signal does not take them.
		"a hurry while one hangs": {
			takes: [5]time.Duration{3900 * time.Millisecond, hangs, hangs, hangs, hangs},
			hurry: time.Second, took: 6900 * time.Millisecond, left: []string{"c", "b", "a", "api"},
		},
		"a hurry while the last stops": {
			takes: [5]time.Duration{3900 * time.Millisecond}, hurry: time.Second, took: 3900 * time.Millisecond,
		},
		"a hurry while the last hangs": {
			takes: [5]time.Duration{hangs}, hurry: time.Second, took: 4 * time.Second, left: []string{"store"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &record{}
				list := []Component{
					stopping("store", log, 5*time.Second, 4*time.Second, test.takes[0]),
					stopping("api", log, 6*time.Second, 2*time.Second, test.takes[1]),
					stopping("a", log, 3*time.Second, 0, test.takes[2]),
					stopping("b", log, 3*time.Second, 0, test.takes[3]),
					stopping("c", log, 3*time.Second, 0, test.takes[4]),
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				hurry := make(chan struct{})
				if test.hurry > 0 {
					time.AfterFunc(time.Minute+test.hurry, func() { close(hurry) })
				}
				begin := time.Now()
				err := Run(ctx, list, Options{StopBudget: testBudget, Log: log.add, Hurry: hurry})
				if took := time.Since(begin) - time.Minute; err != nil || took != test.took {
					t.Errorf("took %s, want %s (error %v)", took, test.took, err)
				}
				if got := firstWords(log.only("component left behind: ")); !slices.Equal(got, test.left) {
					t.Errorf("left behind %v, want %v", got, test.left)
				}
				synctest.Wait()
				// Those that get no time are told at one instant.
				if got := log.only("told "); !slices.Contains(test.left, "a") && !slices.Equal(got, []string{"c", "b", "a", "api", "store"}) {
					t.Errorf("told to stop: %v", got)
				}
				if !slices.Contains(test.left, "store") && !slices.Contains(log.only("end "), "store") {
					t.Errorf("the store did not end: %v", log.lines)
				}
				time.Sleep(2 * hangs)
			})
		})
	}
}

func firstWords(lines []string) []string {
	var words []string
	for _, line := range lines {
		word, _, _ := strings.Cut(line, " ")
		words = append(words, word)
	}
	return words
}

func TestAllowance(t *testing.T) {
	list := []Component{
		{Name: "store", StopTimeout: 5, StopReserve: 4},
		{Name: "api", StopTimeout: 6, StopReserve: 2},
		{Name: "pods", StopTimeout: 3},
	}
	tests := []struct {
		stopping   int
		left, want time.Duration
	}{
		{2, 11, 3}, // its own limit
		{2, 8, 2},  // what is not reserved
		{2, 6, 0},
		{1, 11, 6},
		{1, 8, 4},
		{1, 6, 2},
		{0, 11, 5},
		{0, 4, 4},
		// A machine that stood still has used up the budget alone.
		{2, -20, 0},
		{0, -20, 4},
	}
	for _, test := range tests {
		if got := allowance(list[:test.stopping+1], test.left); got != test.want {
			t.Errorf("%s with %d left: got %d, want %d", list[test.stopping].Name, test.left, got, test.want)
		}
	}
}

func TestReservesMustFitTheBudget(t *testing.T) {
	log := &record{}
	list := []Component{stopping("store", log, time.Minute, 4*time.Second, 0), stopping("api", log, time.Minute, 2*time.Second, 0)}
	for budget, want := range map[time.Duration]bool{0: false, 6 * time.Second: false, 7 * time.Second: true} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := Run(ctx, list, Options{StopBudget: budget, Log: log.add})
		if (err == nil) != want {
			t.Errorf("budget %s: error %v", budget, err)
		}
	}
}
