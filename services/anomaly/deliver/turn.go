package deliver

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/outage"
)

const (
	// firstWait and longestWait bound the wait of a route whose receiver does not take what it is sent.
	firstWait   = time.Second
	longestWait = time.Minute
	// commitWait is between two attempts to commit.
	commitWait = time.Second
	// showEvery is how often metrics tell for how long something has waited.
	showEvery = 5 * time.Second
)

// turn is a route's work from the moment that the log is this process's until it is not.
type turn struct {
	f      *following
	member string
	until  int64         // the log's end when it began: before that is read, nothing is sent
	caught chan struct{} // closed when it is
	kick   chan struct{} // the book has changed
	cancel context.CancelFunc
	done   chan struct{}

	kept restored // what the group holds, as work knows

	mu   sync.Mutex // over book
	book *book
}

func newTurn(f *following, member string, p restored, until int64) *turn {
	ctx, cancel := context.WithCancel(context.Background()) // until end: it begins in a callback of the client, and outlasts it
	t := &turn{f: f, member: member, until: until, caught: make(chan struct{}), kick: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		book: newBook(f.match, f.policy, p, time.Now()), kept: p}
	if p.low >= until {
		close(t.caught)
	}
	go func() {
		defer close(t.done)
		t.work(ctx)
	}()
	return t
}

func (t *turn) end() {
	t.cancel()
	<-t.done
}

// read folds a record in.
func (t *turn) read(rec *kgo.Record) {
	i, is, err := decode(rec)
	if err != nil {
		t.f.m.skipped.WithLabelValues(t.f.name, "unreadable").Inc()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if is {
		t.book.take(rec.Offset, i, time.Now())
	} else {
		t.book.skip(rec.Offset)
	}
	if t.book.next >= t.until {
		select {
		case <-t.caught:
		default:
			t.book.begin(time.Now())
			close(t.caught)
		}
	}
}

// look tells the work that there is something new.
func (t *turn) look() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// work sends what is to be said until ctx ends.
func (t *turn) work(ctx context.Context) {
	m, name := t.f.m, t.f.name
	select {
	case <-t.caught:
	case <-ctx.Done():
		return
	}
	m.active.WithLabelValues(name).Set(1)
	defer func() {
		for _, g := range []*prometheus.GaugeVec{m.waiting, m.oldest, m.open, m.summed, m.active} {
			g.WithLabelValues(name).Set(0) // the next owner's are what holds
		}
	}()
	waits := outage.New(firstWait, longestWait)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t.mu.Lock()
		round, wait := t.book.round(time.Now())
		t.mu.Unlock()
		t.count()
		if len(round) == 0 {
			if !t.settle(ctx) {
				wait = min(wait, commitWait)
			}
			timer.Reset(min(wait, showEvery))
			select {
			case <-timer.C:
			case <-t.kick:
			case <-ctx.Done():
				return
			}
			continue
		}
		if !t.intend(ctx) {
			if !t.rest(ctx, commitWait) {
				return
			}
			continue
		}
		failed := t.send(ctx, round)
		if ctx.Err() != nil {
			return
		}
		if failed == nil {
			waits.Over()
			t.settle(ctx)
			continue
		}
		wait = max(waits.Next(), failed.after)
		t.f.logger.Warn("a receiver of incidents did not take what it was sent", "error", failed.Error(), "messages", len(round), "in", wait.String())
		if !t.rest(ctx, wait) {
			return
		}
	}
}

// rest waits, and shows meanwhile for how long the incidents have waited. False is the end of ctx.
func (t *turn) rest(ctx context.Context, wait time.Duration) bool {
	for end := time.Now().Add(wait); ; {
		t.count()
		left := time.Until(end)
		if left <= 0 {
			return true
		}
		if !outage.Pause(ctx, min(left, showEvery)) {
			return false
		}
	}
}

// send sends a round and writes down what became of it. What the receiver refuses for good counts as delivered: nothing is gained by
// saying it again, and much is lost by holding up what comes after. Of many in one request nobody knows which it was.
func (t *turn) send(ctx context.Context, round []message) *failure {
	began := time.Now()
	failed := t.f.to.send(ctx, round)
	m, name := t.f.m, t.f.name
	m.seconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
	outcome := "sent"
	switch {
	case failed == nil:
	case failed.refused() && t.f.policy.batch == 1:
		outcome = "refused"
		t.f.logger.Error("a receiver refuses a message about an incident", "incident", round[0].inc.ID, "action", string(round[0].action), "error", failed.Error())
		failed = nil
	default:
		outcome = "failed"
	}
	m.messages.WithLabelValues(name, outcome).Add(float64(len(round)))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.done(round, failed == nil, failed != nil && failed.unknown, time.Now())
	if failed == nil && round[len(round)-1].sum != nil {
		m.skipped.WithLabelValues(name, "summarised").Add(float64(t.book.newly))
		t.book.newly = 0
	}
	return failed
}

// intend writes into the group up to where messages may be under way from now on. An incident that is resolved while nobody knows whether the
// receiver has heard of it is then told as resolved, whoever does it.
func (t *turn) intend(ctx context.Context) bool {
	t.mu.Lock()
	if t.book.next <= t.kept.may {
		t.mu.Unlock()
		return true
	}
	t.book.may = t.book.next
	p := t.book.place()
	t.mu.Unlock()
	return t.keep(ctx, p)
}

// settle commits what is delivered.
func (t *turn) settle(ctx context.Context) bool {
	t.mu.Lock()
	p := t.book.place()
	t.mu.Unlock()
	if p.commit == t.kept.commit && p.metadata() == t.kept.metadata() {
		return true
	}
	return t.keep(ctx, p)
}

func (t *turn) keep(ctx context.Context, p restored) bool {
	if err := t.f.commit(ctx, t.member, p); err != nil {
		if ctx.Err() == nil {
			t.f.logger.Warn("a route's place was not kept; it is tried again", "error", err)
		}
		return false
	}
	t.kept = p
	return true
}

// count shows the book in metrics.
func (t *turn) count() {
	t.mu.Lock()
	n, oldest := t.book.waiting()
	open, sum := t.book.counts()
	unsent, hushed := t.book.unsent, t.book.hushed
	t.book.unsent, t.book.hushed = 0, 0
	t.mu.Unlock()
	m, name := t.f.m, t.f.name
	age := 0.0
	if n > 0 {
		age = time.Since(oldest).Seconds()
	}
	m.waiting.WithLabelValues(name).Set(float64(n))
	m.oldest.WithLabelValues(name).Set(age)
	m.open.WithLabelValues(name).Set(float64(open))
	m.summed.WithLabelValues(name).Set(float64(sum))
	m.skipped.WithLabelValues(name, "resolved").Add(float64(unsent))
	m.skipped.WithLabelValues(name, "acknowledged").Add(float64(hushed))
}
