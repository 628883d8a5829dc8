package vmtest

import "sync"

// stream is text that only grows, with any number of readers that each keep
// their own position.
type stream struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed and replaced at each change
	err     error         // why no more will come; set once
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	s.wake()
	return len(p), nil
}

// end makes every present and later wait for more text fail. The first reason
// given stays.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.wake()
}

// wake tells all waiters of a change; with mu held.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// from is the text from pos on, the channel that tells of more, and why there
// will be no more. The text must not be written to.
func (s *stream) from(pos int) ([]byte, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text[pos:len(s.text):len(s.text)], s.changed, s.err
}
