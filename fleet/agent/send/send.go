package send

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/ring"
)

// Status is how the sending stands. Numbers are totals since the start.
type Status struct {
	Gateway    string    `json:"gateway"`
	Stored     uint64    `json:"stored"`     // messages in the log
	Duplicates uint64    `json:"duplicates"` // of these, those that were there already
	Faults     uint64    `json:"faults"`     // values in them that were put aside
	Refused    uint64    `json:"refused"`    // messages that never will be
	Retries    uint64    `json:"retries"`    // attempts that brought no decision
	LastStored time.Time `json:"last_stored,omitzero"`
	LastSaid   string    `json:"last_said,omitempty"` // by the last answer that was not 200, or why there was none
	Connected  bool      `json:"connected"`           // the last attempt brought an answer
	Held       bool      `json:"held"`                // the device or its certificate is refused
}

// Sender sends. Use may be called while Run runs; Run is called once.
type Sender struct {
	cfg  Config
	ring *ring.Ring
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	way    *way
	status Status
}

// New makes a sender; it connects at the first message.
func New(cfg Config, id est.Identity, r *ring.Ring, log *slog.Logger) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Sender{cfg: cfg, ring: r, log: log, way: open(cfg, id), status: Status{Gateway: cfg.Gateway}}, nil
}

// Use takes another identity from the next attempt on.
func (s *Sender) Use(id est.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.way.close()
	s.way = open(s.cfg, id)
}

// Status says how it stands.
func (s *Sender) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run sends until ctx ends. What was not answered for stays in the ring.
func (s *Sender) Run(ctx context.Context) error {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.way.close()
	}()
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.cfg.FirstPause), backoff.WithMaxInterval(s.cfg.LastPause), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0), // the jitter is ours, so that no wait is longer than LastPause
		backoff.WithMaxElapsedTime(0),      // a device never gives a message up for its age: the ring's bound ends it
	)
	for {
		e, err := s.ring.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("send: %w", err)
		}
		s.mu.Lock()
		w, gateway := s.way, s.status.Gateway
		s.mu.Unlock()
		v := w.post(ctx, gateway, e.Kind, e.Value, e.Backlog)
		s.leave(w)
		if err := s.settle(e, v); err != nil {
			// The disk does not take the mark: after a restart the message is sent once more.
			s.log.Warn("what was sent is not marked", "error", err)
		}
		if v.fate == stored || v.fate == refused {
			pause.Reset()
			continue
		}
		if !sleep(ctx, s.wait(pause, v)) {
			return nil
		}
	}
}

// leave closes a way that is not in use any more.
func (s *Sender) leave(w *way) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w != s.way {
		w.close()
	}
}

// settle writes down what became of a message.
func (s *Sender) settle(e ring.Entry, v verdict) error {
	s.mu.Lock()
	before := s.status
	st := &s.status
	st.Held, st.Connected = v.fate == held, v.fate != unsure
	switch v.fate {
	case stored:
		st.Stored++
		st.Faults += uint64(v.faults)
		st.LastStored = time.Now()
		if v.duplicate {
			st.Duplicates++
		}
	case refused:
		st.Refused++
		st.LastSaid = v.says
	default:
		st.Retries++
		st.LastSaid = v.says
		if v.gateway != "" {
			st.Gateway = v.gateway
		}
	}
	s.mu.Unlock()
	switch {
	case v.fate == refused:
		s.log.Error("a message is refused for good, and let go", "says", v.says, "bytes", len(e.Value))
	case v.gateway != "" && v.gateway != before.Gateway:
		s.log.Warn("the device belongs to another gateway", "gateway", v.gateway)
	case v.fate == held && !before.Held:
		s.log.Error("the device is refused; its messages are kept", "says", v.says)
	case v.fate == unsure && (before.Connected || before.Retries == 0):
		s.log.Warn("the gateway does not answer for a message; it is kept", "says", v.says)
	case v.fate == stored && !before.Connected && before.Retries > 0:
		s.log.Info("the gateway takes messages again", "waiting", s.ring.Counts().Waiting)
	}
	var err error
	if v.fate == stored || v.fate == refused {
		err = s.ring.Done(e.ID)
	} else {
		err = s.ring.Return(e.ID)
	}
	if errors.Is(err, ring.ErrClosed) {
		return nil
	}
	return err
}

func (s *Sender) wait(pause *backoff.ExponentialBackOff, v verdict) time.Duration {
	d := pause.NextBackOff()
	if v.fate == held && v.gateway == "" {
		d = s.cfg.HeldPause
	}
	return max(d/2+rand.N(d/2+1), v.retryAfter)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
