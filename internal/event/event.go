// Package event is what the node tells whoever watches it boot: a stream of
// JSON lines about boot steps, services, health, updates and shutdown.
//
// It owns the form of an event, the in-memory history (Log), the way from
// ksagent to ksinit (a unix datagram socket, Client and Serve) and the way from
// ksinit to a hypervisor (a virtio-serial port, Stream). It never blocks the
// one who emits: a slow or absent reader loses the oldest events, never the
// boot. The codec is fuzzed; the socket and the stream are tested over real
// sockets and pipes.
package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Types of events.
const (
	Step     = "step"     // one boot step: started, then ok, degraded, failed or skipped
	Service  = "service"  // one service: starting running ready exited backoff failed stopped
	Health   = "health"   // api, node, coredns, images or clock: ok, waiting or bad
	Ready    = "ready"    // once per boot; the message is the version
	Update   = "update"   // the states of an update
	Shutdown = "shutdown" // started, one per phase, done
	// Alive is a service's heartbeat on its way to ksinit, with its name. It
	// is no news, is not kept and not passed on.
	Alive = "alive"
)

// PortName and Socket are where events leave the node and where they arrive
// from other programs of the node.
const (
	PortName = "io.kubesolo.events"
	Socket   = "/run/ksinit/events.sock"
)

// maxMessage bounds one event well below the 64 KiB that a reader must be
// ready to take as one line.
const maxMessage = 8 << 10

// An Event is one thing that happened.
type Event struct {
	Time     float64 `json:"time"` // seconds of CLOCK_BOOTTIME
	Type     string  `json:"type"`
	Name     string  `json:"name,omitempty"`
	State    string  `json:"state,omitempty"`
	Message  string  `json:"message,omitempty"`
	Duration float64 `json:"duration,omitempty"` // seconds
}

// A Sink takes events. Emit must not block.
type Sink interface{ Emit(Event) }

// Now is the time of the boot clock in seconds, sleep included
// (CLOCK_BOOTTIME), so that it never jumps when the wall clock is set.
func Now() float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // not possible since Linux 2.6.39
	}
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}

// Encode gives an event as one line of JSON with its end of line. Over-long
// messages are cut, their end kept: that is where an error's cause stands.
func Encode(e Event) []byte {
	if len(e.Message) > maxMessage {
		e.Message = "..." + e.Message[len(e.Message)-maxMessage:]
	}
	line, err := json.Marshal(e)
	if err != nil { // NaN or infinity in a time
		e.Time, e.Duration = 0, 0
		line, _ = json.Marshal(e) // strings alone always marshal
	}
	return append(line, '\n')
}

// Decode reads one event. The type must not be empty; unknown fields are
// ignored so that an older reader follows a newer node.
func Decode(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(bytes.TrimSpace(b), &e); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	if e.Type == "" {
		return Event{}, errors.New("event: no type")
	}
	return e, nil
}
