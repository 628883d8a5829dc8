package main

import "testing"

// The state after an operation must tell which one it was.
func TestStatesDiffer(t *testing.T) {
	created, deleted, counter := 0, 0, 0
	seen := map[observed]int{expected(0): 0}
	for n := 1; n < 500; n++ {
		switch {
		case n%2 == 1:
			created = n
		case n%10 == 0:
			deleted++
		default:
			counter = n
		}
		want := observed{last: created, keys: (created+1)/2 - deleted, counter: counter}
		if got := expected(n); got != want {
			t.Fatalf("after %d: %+v, want %+v", n, got, want)
		}
		if before, found := seen[want]; found {
			t.Fatalf("after %d it is as after %d", n, before)
		}
		seen[want] = n
		// look starts at the larger of the two numbers and tries one more.
		if start := max(want.last, want.counter); n != start && n != start+1 {
			t.Fatalf("after %d: %+v does not lead to it", n, want)
		}
	}
}
