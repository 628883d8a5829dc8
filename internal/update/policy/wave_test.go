package policy_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"kubesolo.io/os/internal/update/policy"
)

const machines = 20_000

// machine ids as a fleet has them, one differing from the next by a digit: the
// worst case for a share that is not of a hash.
func machine(i int) string { return fmt.Sprintf("%032x", i) }

// TestSharesAreEven: of 20,000 machines as many are in each of 20 parts of a
// roll-out, for several versions. With chance alone chi-squared of 19 degrees of
// freedom is over 43.8 once in 1000; the ids are fixed, so the test is no chance.
func TestSharesAreEven(t *testing.T) {
	const parts = 20
	for _, version := range []string{"0.2.0", "0.2.1", "1.0.0-rc.1", "10.20.30+build"} {
		var count [parts]int
		sum := 0.0
		for i := range machines {
			s := policy.Share(machine(i), version)
			if s < 0 || s >= 1 {
				t.Fatalf("share %g", s)
			}
			count[int(s*parts)]++
			sum += s
		}
		chi := 0.0
		for _, n := range count {
			d := float64(n) - machines/parts
			chi += d * d / (machines / parts)
		}
		if chi > 43.8 || math.Abs(sum/machines-0.5) > 0.01 {
			t.Errorf("%s: chi-squared %.1f, mean %.4f, %v", version, chi, sum/machines, count)
		}
	}
}

// TestTurnsChangeWithTheVersion: who is among the first tenth of one version is
// among the first tenth of the next as seldom as anybody else.
func TestTurnsChangeWithTheVersion(t *testing.T) {
	first, both := 0, 0
	for i := range machines {
		if policy.Share(machine(i), "0.2.0") < 0.1 {
			first++
			if policy.Share(machine(i), "0.2.1") < 0.1 {
				both++
			}
		}
	}
	if share := float64(both) / float64(first); share < 0.08 || share > 0.12 {
		t.Errorf("%d of %d are first again, want a tenth", both, first)
	}
}

// A share that changed between two versions of this program would give a machine
// a second turn, or none until the end. The values are of another SHA-256
// (Python's hashlib).
func TestShareIsFixed(t *testing.T) {
	for version, want := range map[string]float64{"0.2.0": 0.45300, "0.2.1": 0.43961} {
		if got := policy.Share("2c1f3f0e6b1d4c0f9a7c5b7f4b1f9d11", version); math.Abs(got-want) > 1e-5 {
			t.Errorf("%s: %.5f, want %.5f", version, got, want)
		}
	}
	if policy.Share("ab", "c") == policy.Share("a", "bc") {
		t.Error("machine and version run into each other")
	}
}

// TestRolloutGrowsEvenly asks the gate of a fleet along a roll-out of 6 days:
// nobody before its release, everybody at its end, and once a machine's turn has
// come it stays.
func TestRolloutGrowsEvenly(t *testing.T) {
	const fleet, steps, days = 2000, 12, 6
	in := good()
	in.Target.Released, in.Target.Rollout = now(), fmt.Sprintf("%dh", days*24)
	before := make([]bool, fleet)
	for step := -1; step <= steps; step++ {
		in.Now = now().Add(time.Duration(step) * days * 24 * time.Hour / steps)
		open := 0
		for i := range fleet {
			in.MachineID = machine(i)
			gates := policy.Evaluate(in)
			g := gates[len(gates)-2]
			if g.Name != policy.Wave || before[i] && !g.Open {
				t.Fatalf("step %d, machine %d: %+v", step, i, g)
			}
			if !g.Open {
				in := in
				in.Now = g.Until
				if g := policy.Evaluate(in)[len(gates)-2]; !g.Open {
					t.Fatalf("at its turn it is %+v", g)
				}
				continue
			}
			before[i] = true
			open++
		}
		want := float64(max(step, 0)) / steps
		if got := float64(open) / fleet; math.Abs(got-want) > 0.03 {
			t.Errorf("step %d of %d: %.3f of the fleet, want %.3f", step, steps, got, want)
		}
		if step <= 0 && open > 0 || step == steps && open < fleet {
			t.Errorf("step %d of %d: %d of %d machines", step, steps, open, fleet)
		}
	}
}
