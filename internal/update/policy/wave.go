package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Share is a machine's place in the roll-out of a version, from 0 up to but not
// including 1: the first 53 bits of a SHA-256 of both, so that no server has to
// hand out turns. Another version gives other turns: no machine is always among
// the first, which meet the faults.
func Share(machineID, version string) float64 {
	sum := sha256.Sum256([]byte(machineID + "\x00" + version))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// Turn is the time from which the target is for the machine; zero when it is
// not rolled out over time.
func (t Target) Turn(machineID string) (time.Time, error) {
	if t.Rollout == "" {
		return time.Time{}, nil
	}
	length, err := time.ParseDuration(t.Rollout)
	switch {
	case err != nil || length < 0:
		return time.Time{}, fmt.Errorf("its metadata has the rollout %.40q, which is not a length of time such as 48h", t.Rollout)
	case length == 0:
		return time.Time{}, nil
	case t.Released.IsZero():
		return time.Time{}, errors.New("its metadata has a rollout, but not when it was released")
	}
	return t.Released.Add(time.Duration(Share(machineID, t.Version) * float64(length))), nil
}

func (in Input) wave() Gate {
	if !in.Waves {
		return open(Wave, "no turn is waited for")
	}
	turn, err := in.Target.Turn(in.MachineID)
	switch {
	case err != nil:
		return closed(Wave, "%v", err)
	case turn.IsZero():
		return open(Wave, "for all machines at once")
	case in.Now.Before(turn):
		g := closed(Wave, "it is rolled out over %s, and this machine's turn is at %s", in.Target.Rollout, clock(turn))
		g.Until = turn
		return g
	}
	return open(Wave, "this machine's turn was at %s", clock(turn))
}
