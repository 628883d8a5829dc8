package clocksync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"kubesolo.io/os/internal/event"
)

// EventName is the name of the health events of this package.
const EventName = "clock"

// Clock is what Run sets; see [Kernel].
type Clock interface {
	Now() time.Time
	Synchronised() bool
	Step(by time.Duration) error
	Slew(offset time.Duration, poll int, distance time.Duration) error
	SaveRTC() error
}

// Options of Run.
type Options struct {
	ConfigFile, LeaseFile string    // see ReadSources; read anew before each round
	Floor                 time.Time // the clock is never set below it; zero: no floor
	Clock                 Clock
	Sink                  event.Sink
	Log                   *slog.Logger
	// Ask and Lookup are for tests; nil is [Query] and the system's resolver.
	Ask    func(ctx context.Context, server netip.AddrPort, pivot time.Time) (Sample, error)
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

const (
	// firstRetry doubles up to one poll while no server has ever answered.
	firstRetry = time.Second
	// missed rounds in a row after which a clock that was right is no longer
	// called so; it keeps its learnt frequency meanwhile.
	missed = 4
	// rtcEvery is how often the battery clock is set.
	rtcEvery = time.Hour
)

// Run keeps the clock right until ctx ends. It emits a health event whenever
// it begins or ceases to be right, when other servers are used, and when it
// was stepped; nothing else is said above the debug level.
func Run(ctx context.Context, o Options) {
	s := synchroniser{
		o: o, discipline: discipline{floor: o.Floor, synced: o.Clock.Synchronised(), poll: minPoll},
		pool: pool{ask: o.Ask, lookup: o.Lookup}, retry: firstRetry,
	}
	if s.pool.ask == nil {
		s.pool.ask = Query
	}
	if s.pool.lookup == nil {
		s.pool.lookup = lookup
	}
	for ctx.Err() == nil {
		pause := s.round(ctx)
		// Machines that came back together after a power cut do not ask
		// together for ever.
		pause += rand.N(pause/8 + 1)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

type synchroniser struct {
	o          Options
	discipline discipline
	pool       pool
	retry      time.Duration
	failures   int       // rounds in a row
	saved      time.Time // when the battery clock was set
	said       string    // what the last event was about
	rtcErr     string
}

// round asks once and corrects the clock; the result is the time to the next.
func (s *synchroniser) round(ctx context.Context) time.Duration {
	sources, err := ReadSources(s.o.ConfigFile, s.o.LeaseFile)
	if err != nil {
		return s.failed(err, "sources")
	}
	if len(sources.Servers) == 0 {
		s.tell("off", "ok", "not synchronised: "+sources.Origin)
		return s.discipline.pause()
	}
	pivot := s.o.Floor
	if pivot.IsZero() {
		pivot = s.o.Clock.Now()
	}
	all, err := s.pool.round(ctx, sources.Servers, pivot)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		return s.failed(fmt.Errorf("%w (%s)", err, sources.Origin), "no answer")
	}
	choice, err := Choose(all)
	if err != nil {
		return s.failed(fmt.Errorf("%w (%s)", err, sources.Origin), "disagreement")
	}
	for _, r := range choice.Refused {
		s.o.Log.Debug("time server outvoted", "server", r.Server, "offset", r.Offset)
	}
	return s.correct(choice, sources.Origin)
}

// correct carries out what the discipline decides.
func (s *synchroniser) correct(c Choice, origin string) time.Duration {
	now := s.o.Clock.Now()
	what, err := s.discipline.decide(c.Offset, now)
	s.o.Log.Debug("time", "offset", c.Offset, "distance", c.Distance, "server", c.Server, "poll", s.discipline.poll)
	message := fmt.Sprintf("%s; offset %s, %s", people(c, origin), signed(c.Offset), within(c.Distance))
	switch what {
	case refuse:
		return s.failed(fmt.Errorf("%w (%s)", err, origin), "refused")
	case watch:
		s.tell("watch", "ok", message+": stepped if it is still there at the next poll")
		return s.discipline.pause()
	case step:
		if err := s.o.Clock.Step(c.Offset); err != nil {
			return s.powerless(err)
		}
		s.saved = time.Time{}
		message = fmt.Sprintf("%s; stepped by %s, from %s to %s", people(c, origin), signed(c.Offset),
			now.UTC().Format(time.DateTime), now.Add(c.Offset).UTC().Format(time.DateTime))
		s.said = "" // each step is news
		c.Offset = 0
	}
	if err := s.o.Clock.Slew(c.Offset, s.discipline.poll, c.Distance); err != nil {
		return s.powerless(err)
	}
	s.failures, s.retry = 0, firstRetry
	s.tell("ok "+origin, "ok", message)
	s.saveRTC()
	return s.discipline.pause()
}

// people names the servers of a choice.
func people(c Choice, origin string) string {
	switch n := len(c.Agree) - 1; n {
	case 0:
		return fmt.Sprintf("%s (%s)", c.Server, origin)
	case 1:
		return fmt.Sprintf("%s and another one (%s)", c.Server, origin)
	default:
		return fmt.Sprintf("%s and %d others (%s)", c.Server, n, origin)
	}
}

func within(d time.Duration) string { return "right to " + signed(d)[1:] }

// failed counts a round without a result. A clock that was right stays so for
// some rounds.
func (s *synchroniser) failed(err error, kind string) time.Duration {
	s.failures++
	s.o.Log.Debug("time", "err", err)
	if s.discipline.synced && s.failures < missed {
		return time.Second << minPoll
	}
	s.tell(kind, "waiting", err.Error())
	if s.discipline.synced {
		return time.Second << minPoll
	}
	pause := s.retry
	s.retry = min(2*s.retry, time.Second<<minPoll)
	return pause
}

// powerless is for a kernel that does not let the clock be set: said at once,
// and tried again.
func (s *synchroniser) powerless(err error) time.Duration {
	s.discipline.synced = false
	return s.failed(err, "clock")
}

// tell emits an event if it is about something else than the last one.
func (s *synchroniser) tell(about, state, message string) {
	if about == s.said {
		return
	}
	s.said = about
	s.o.Sink.Emit(event.Event{Time: event.Now(), Type: event.Health, Name: EventName, State: state, Message: message})
}

func (s *synchroniser) saveRTC() {
	if !s.saved.IsZero() && time.Since(s.saved) < rtcEvery {
		return
	}
	s.saved = time.Now()
	text := ""
	if err := s.o.Clock.SaveRTC(); err != nil {
		text = err.Error()
	}
	if text != "" && text != s.rtcErr {
		s.o.Log.Warn("the battery clock is not set", "err", errors.New(text))
	}
	s.rtcErr = text
}
