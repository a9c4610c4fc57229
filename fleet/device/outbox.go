package device

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Message is one encoded batch under its key.
type Message struct {
	Boot   uint32
	Seq    uint64
	Values int
	Body   []byte
}

// Outcome is what became of a message.
type Outcome struct {
	Receipt Receipt
	Refusal *Refusal // nil when it was stored
}

// Counts is what an outbox did. Put = Stored + Refused + Dropped + Waiting.
type Counts struct {
	Put, Stored, Refused, Dropped, Waiting int
	Retries, Duplicates                    int
}

// Outbox keeps messages until they are answered for, and sends them in order.
type Outbox struct {
	client   *Client
	answered func(Message, Outcome)
	lost     func() bool

	mu     sync.Mutex // guards those below
	queue  []Message  // the first one may be on its way
	flying bool
	limit  int
	counts Counts
	wake   chan struct{} // holds at most one token: there may be something to send
}

// NewOutbox keeps at most limit messages. answered hears of each that was stored or refused, in order, from Run.
func NewOutbox(c *Client, limit int, answered func(Message, Outcome)) *Outbox {
	return &Outbox{client: c, limit: max(limit, 2), answered: answered, lost: func() bool { return false }, wake: make(chan struct{}, 1)}
}

// LoseAnswers makes the outbox take a receipt for lost where lost says so, and send the message again before the
// next, as a device does whose connection broke under the answer. Call it before Run.
func (o *Outbox) LoseAnswers(lost func() bool) { o.lost = lost }

// Put adds a message. When the outbox is full the oldest one that is not on its way gives way.
func (o *Outbox) Put(m Message) {
	o.mu.Lock()
	o.counts.Put++
	if len(o.queue) == o.limit {
		oldest := 0
		if o.flying {
			oldest = 1
		}
		o.queue = append(o.queue[:oldest], o.queue[oldest+1:]...)
		o.counts.Dropped++
	}
	o.queue = append(o.queue, m)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends; what is then unanswered stays counted as waiting.
func (o *Outbox) Run(ctx context.Context) {
	for {
		m, ok := o.next()
		if !ok {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		retried := func(*Unsure) { o.count(func(c *Counts) { c.Retries++ }) }
		r, err := o.client.Deliver(ctx, m.Body, retried)
		if err == nil && o.lost() {
			retried(nil)
			r, err = o.client.Deliver(ctx, m.Body, retried)
		}
		var barred *Barred
		if errors.As(err, &barred) {
			// The messages are kept: it is the certificate that is refused, and an operator may mend that.
			retried(nil)
			o.putBack()
			select {
			case <-time.After(o.client.cfg.LastPause):
				continue
			case <-ctx.Done():
				return
			}
		}
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			o.putBack()
			return // ctx ended
		}
		o.mu.Lock()
		o.flying = false
		o.queue = o.queue[1:]
		switch {
		case refusal != nil:
			o.counts.Refused++
		case r.Duplicate:
			o.counts.Duplicates++
			fallthrough
		default:
			o.counts.Stored++
		}
		o.mu.Unlock()
		o.answered(m, Outcome{Receipt: r, Refusal: refusal})
	}
}

// Counts is a snapshot.
func (o *Outbox) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.counts
	c.Waiting = len(o.queue)
	return c
}

func (o *Outbox) next() (Message, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return Message{}, false
	}
	o.flying = true
	return o.queue[0], true
}

// putBack says that the first message is on its way no more.
func (o *Outbox) putBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flying = false
}

func (o *Outbox) count(f func(*Counts)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.counts)
}
