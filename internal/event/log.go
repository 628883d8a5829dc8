package event

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// Log keeps the last events of this boot and passes each on to its streams.
type Log struct {
	mu      sync.Mutex
	events  []Event
	max     int
	sinks   []Sink
	streams []*Stream
}

// NewLog makes a Log that keeps the last max events, and passes all of them on
// to sinks, one at a time.
func NewLog(max int, sinks ...Sink) *Log { return &Log{max: max, sinks: sinks} }

// Emit records e, giving it the current time if it has none.
func (l *Log) Emit(e Event) {
	if e.Time == 0 {
		e.Time = Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == l.max {
		l.events = append(l.events[:0], l.events[1:]...)
	}
	l.events = append(l.events, e)
	for _, s := range l.sinks {
		s.Emit(e)
	}
	l.streams = slices.DeleteFunc(l.streams, (*Stream).over)
	for _, s := range l.streams {
		s.Emit(e)
	}
}

// Events are those kept, oldest first.
func (l *Log) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.events...)
}

// Attach sends every event from now on to s, those kept so far first.
func (l *Log) Attach(s *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		s.Emit(e)
	}
	l.streams = append(l.streams, s)
}

// Close ends all streams after what they have queued, and waits for that, at
// most for limit: one whose reader stands still is left.
func (l *Log) Close(limit time.Duration) {
	l.mu.Lock()
	streams := l.streams
	l.streams = nil
	l.mu.Unlock()
	over := time.After(limit)
	for _, s := range streams {
		s.Close()
		select {
		case <-s.Done():
		case <-over:
			return
		}
	}
}

// Stream writes events to a writer that may block for ever, such as a
// virtio-serial port that nobody reads: events wait in a bounded queue, whose
// oldest are dropped.
type Stream struct {
	queue chan Event
	done  chan struct{}
	once  sync.Once
}

// NewStream starts a Stream to w with a queue of the given size. It ends at
// the first write error or at Close.
func NewStream(w io.Writer, size int) *Stream {
	s := &Stream{queue: make(chan Event, size), done: make(chan struct{})}
	go s.write(w)
	return s
}

func (s *Stream) write(w io.Writer) {
	defer close(s.done)
	for e := range s.queue {
		if e.Type == "" { // Close's mark
			return
		}
		if _, err := w.Write(Encode(e)); err != nil && !errors.Is(err, io.ErrShortWrite) {
			return
		}
	}
}

// Emit queues e and never blocks.
func (s *Stream) Emit(e Event) {
	for {
		select {
		case s.queue <- e:
			return
		case <-s.done:
			return
		default:
		}
		select {
		case <-s.queue: // the oldest makes room
		default:
		}
	}
}

// Close ends the stream after what is queued; Done tells when.
func (s *Stream) Close() { s.once.Do(func() { s.Emit(Event{}) }) }

func (s *Stream) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Done is closed when nothing is written any more.
func (s *Stream) Done() <-chan struct{} { return s.done }
