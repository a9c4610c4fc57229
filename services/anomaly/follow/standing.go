package follow

import (
	"fmt"
	"sync"
)

// standing is what others see of a line.
type standing struct{ *view }

type view struct {
	mu     sync.Mutex // over the rest
	ready  bool       // it has said all that the topic holds, and read all that the log held when it began
	parked error      // why it stands still
	failed error      // why it had to begin again, until it is ready
	behind int64      // records that it has not read
	lag    int64      // ms of event time that it has read and not judged
}

func newStanding() standing { return standing{&view{}} }

func (s standing) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
}

func (s standing) park(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.parked = false, err
}

func (s standing) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.failed = false, err
}

func (s standing) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.behind, s.lag = false, 0, 0
}

func (s standing) say(behind, lag int64, level bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind, s.lag = behind, lag
	if level && behind == 0 {
		s.ready, s.failed = true, nil
	}
}

// check says what keeps the line from being ready.
func (s standing) check(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.parked != nil:
		return fmt.Errorf("%s stands still: %w", name, s.parked)
	case !s.ready && s.failed != nil:
		return fmt.Errorf("%s begins again: %w", name, s.failed)
	case !s.ready:
		return fmt.Errorf("%s is catching up: %d records to read", name, s.behind)
	}
	return nil
}

func (s standing) numbers() (behind, lag int64, parked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind, s.lag, s.parked != nil
}
