package refusals

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

const (
	// 100 at once and then one in ten seconds are 9,000 events a day at worst, 2 MB.
	burst = 100
	every = 10 * time.Second

	queued       = burst
	mostKinds    = 16
	mostText     = 256 // bytes of each part of an attempt
	writeTimeout = 8 * time.Second
	// stopTimeout bounds what is still written at a stop, all of it together: who stops the process waits.
	stopTimeout = 4 * time.Second
	// catchUp is how long a count waits for the next attempt of its kind before it is written without one.
	catchUp = time.Minute

	author = "registry"
)

// Attempt is what somebody tried.
type Attempt struct {
	What    string // its kind, of which there are few: "enrolment"
	Subject string // in whose name, as far as it is known
	Reason  string // why it was refused
	Source  string // the address that it came from
}

// Settings is what code passes to New.
type Settings struct {
	Writer  *writer.Writer
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // nil is the wall clock
}

// Room takes attempts. Its methods may be called from any goroutine.
type Room struct {
	writer *writer.Writer
	log    *slog.Logger
	now    func() time.Time
	queue  chan Attempt
	noted  *prometheus.CounterVec

	mu     sync.Mutex
	tokens float64           // guarded by mu, as all below
	filled time.Time         // when tokens held
	left   map[string]uint64 // attempts that were not written, by kind
	last   map[string]Attempt
}

// New makes a room; Run makes it work.
func New(s Settings) *Room {
	r := &Room{
		writer: s.Writer, log: s.Log, now: s.Now, queue: make(chan Attempt, queued), tokens: burst, left: map[string]uint64{}, last: map[string]Attempt{},
		noted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_registry_attempts_refused_total",
			Help: "Attempts that were refused, by kind and by whether each has an event of its own in the registry's log.",
		}, []string{"what", "written"}),
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.filled = r.now()
	s.Metrics.MustRegister(r.noted)
	return r
}

// Note takes an attempt and never waits.
func (r *Room) Note(a Attempt) {
	for _, part := range []*string{&a.What, &a.Subject, &a.Reason, &a.Source} {
		*part = (*part)[:min(len(*part), mostText)] // decide makes plain text of it
	}
	if r.token() {
		select {
		case r.queue <- a:
			return
		default:
		}
	}
	r.leave(a, 1)
}

// token takes one if there is one.
func (r *Room) token() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if gone := now.Sub(r.filled); gone > 0 { // a clock that steps back adds nothing
		r.tokens = min(r.tokens+gone.Seconds()/every.Seconds(), burst)
		r.filled = now
	}
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// leave counts attempts that are not written.
func (r *Room) leave(a Attempt, n uint64) {
	r.noted.WithLabelValues(a.What, "counted").Add(float64(n))
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.left[a.What]; !known && len(r.left) >= mostKinds {
		return
	}
	r.left[a.What] += n
	r.last[a.What] = a
}

// more takes the count of a kind.
func (r *Room) more(what string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.left[what]
	delete(r.left, what)
	delete(r.last, what)
	return n
}

// Run writes until ctx ends, and then, for a short time, what is in the queue.
func (r *Room) Run(ctx context.Context) error {
	// What has begun is ended when the room is to stop, in the time that is left then.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, stop) })()
	tick := time.NewTicker(catchUp)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case a := <-r.queue:
			r.write(writing, a)
		case <-tick.C:
			r.settle(writing)
		case <-ctx.Done():
		}
	}
	for {
		select {
		case a := <-r.queue:
			if !r.write(writing, a) {
				return nil // the log is away, and this process is to end
			}
		default:
			r.settle(writing)
			return nil
		}
	}
}

// settle writes the counts for which no further attempt has come.
func (r *Room) settle(ctx context.Context) {
	for {
		r.mu.Lock()
		var next Attempt
		for _, a := range r.last {
			next = a
		}
		r.mu.Unlock()
		if next.What == "" || !r.token() {
			return
		}
		r.mu.Lock()
		r.left[next.What]-- // it is written itself
		r.mu.Unlock()
		if !r.write(ctx, next) {
			return
		}
	}
}

func (r *Room) write(ctx context.Context, a Attempt) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	more := r.more(a.What)
	_, err := r.writer.Do(ctx, author, "an attempt was refused", decide.NoteRefusal{What: a.What, Subject: a.Subject, Reason: a.Reason, Source: a.Source, More: more})
	if err != nil {
		// It may stand in the log all the same, and be counted once more: an auditor is told rather too much.
		r.log.Warn("a refused attempt is not written yet", "what", a.What, "subject", a.Subject, "reason", a.Reason, "source", a.Source, "error", err)
		r.leave(a, more+1)
		return false
	}
	r.noted.WithLabelValues(a.What, "written").Inc()
	return true
}
