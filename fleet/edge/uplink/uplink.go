package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/edge/parcel"
	"muster.dev/proto/identity"
)

// Refused is what was let go without being stored.
type Refused struct {
	Device   identity.Device // empty: the edge's own
	Status   int
	Reason   string
	Detail   string
	Messages int
}

// Settings are what code passes.
type Settings struct {
	Ring *ring.Ring
	// Order is the ring's. Newest first, the messages of a device have none among them.
	Order ring.Order
	ID    Identity
	Log   *slog.Logger
	// Answered hears of each attempt: its outcome (stored, duplicate, refused, forbidden, slower, unsure, barred) and how long
	// it took. Refused hears of what was let go, and with no messages of a device that the edge may not speak for; it does not wait.
	Answered func(outcome string, took time.Duration)
	Refused  func(Refused)
	Now      func() time.Time
}

// State is how it goes.
type State struct {
	Up        bool      // the last attempt was answered
	Barred    string    // why the gateway refuses the edge's certificate, empty when it does not
	Since     time.Time // of Up
	Said      string    // what the last failure was
	Forbidden int       // devices that the edge may not speak for
	Oldest    time.Time // when the oldest message that is to be sent was taken; zero when there is none
}

// Uplink sends what is in a ring. Run it once.
type Uplink struct {
	cfg    Config
	s      Settings
	client *client

	mu     sync.Mutex // over all below
	change *sync.Cond // what a worker or the reader waits for may be there
	lanes  map[identity.Device]*lane
	ready  []*lane
	inHand int
	aside  int
	stored uint64 // messages
	over   bool

	gate     time.Time     // nothing is sent before
	pause    time.Duration // the last one of the gate
	state    State
	suspects map[ring.ID]suspicion
	wake     chan struct{} // capacity 1: the earliest time that something waits for may have changed

	interrupt func()         // ends the reader's wait for the ring
	shutting  bool           // what is in hand goes back into the ring
	wanting   map[*lane]bool // have room for what was put aside
}

// New makes an uplink.
func New(cfg Config, s Settings) (*Uplink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := newClient(cfg, s.ID)
	if err != nil {
		return nil, fmt.Errorf("the way to the gateway: %w", err)
	}
	u := &Uplink{
		cfg: cfg, s: s, client: c, lanes: map[identity.Device]*lane{}, suspects: map[ring.ID]suspicion{}, wanting: map[*lane]bool{}, wake: make(chan struct{}, 1),
		state: State{Since: s.Now()},
	}
	u.change = sync.NewCond(&u.mu)
	return u, nil
}

// Use makes the next attempts with another identity, at once.
func (u *Uplink) Use(id Identity) {
	u.client.use(id)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.gate, u.pause, u.state.Barred = time.Time{}, 0, ""
	u.change.Broadcast()
}

// Run sends until ctx ends. What is then on its way is given the time of an attempt's end at most; it stays in the ring.
func (u *Uplink) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		u.mu.Lock()
		u.over = true
		u.change.Broadcast()
		u.mu.Unlock()
	})
	defer stop()
	var wg sync.WaitGroup
	for range u.cfg.Parallel {
		wg.Go(func() { u.work(ctx) })
	}
	wg.Go(func() { u.watch(ctx) })
	err := u.read(ctx)
	wg.Wait()
	u.client.close()
	return err
}

// read takes messages out of the ring while there is room for them and something can be sent. It alone gives messages back to
// the ring, so that none of a device passes one that was given back.
func (u *Uplink) read(ctx context.Context) error {
	for {
		waiting, more := u.room(ctx)
		if !more {
			return nil
		}
		e, err := u.s.Ring.Next(waiting)
		switch {
		case err == nil:
		case waiting.Err() != nil:
			continue // there is something to give back, or it is over
		default:
			return fmt.Errorf("reading what was kept: %w", err)
		}
		p, err := parcel.Parse(e.Value)
		if err != nil {
			u.letGo(e.ID)
			u.s.Refused(Refused{Reason: "unreadable", Detail: err.Error(), Messages: 1})
			continue
		}
		u.take(item{e.ID, p, e.Backlog})
	}
}

// room waits until another message can be taken, and says false when it is over. While nothing can be sent the messages are better
// off in the ring. The context ends when the ring is not to be waited for any more.
func (u *Uplink) room(ctx context.Context) (context.Context, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.interrupt != nil {
		u.interrupt()
	}
	for {
		if u.over {
			return nil, false
		}
		if u.shutting {
			u.shutting = false
			for _, l := range u.lanes {
				u.putBack(l)
			}
		}
		for l := range u.wanting {
			u.refill(l)
		}
		clear(u.wanting)
		if u.inHand < u.cfg.InHand && u.aside < maxAside && !u.closed() {
			waiting, cancel := context.WithCancel(ctx)
			u.interrupt = cancel
			return waiting, true
		}
		u.change.Wait()
	}
}

// maxAside bounds the ids that are remembered of devices that have to wait.
const maxAside = 1 << 17

func (u *Uplink) closed() bool { return u.s.Now().Before(u.gate) }

func (u *Uplink) take(it item) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lanes[it.parcel.Device]
	if l == nil {
		l = &lane{device: it.parcel.Device}
		u.lanes[l.device] = l
	}
	at, _ := slices.BinarySearch(l.aside, it.id)
	if len(l.queue) >= perLane || at > 0 && u.s.Order == ring.OldestFirst {
		l.aside = slices.Insert(l.aside, at, it.id)
		u.aside++
		u.want(l)
		return
	}
	l.queue = append(l.queue, it)
	u.inHand++
	u.offer(l)
}

// want tells the reader that a lane has room for what was put aside.
func (u *Uplink) want(l *lane) {
	if l.wants() {
		u.wanting[l] = true
		u.stir()
	}
}

// stir makes the reader look again.
func (u *Uplink) stir() {
	u.change.Broadcast()
	if u.interrupt != nil {
		u.interrupt()
	}
}

// offer gives the lane to the workers, if it can be worked on.
func (u *Uplink) offer(l *lane) {
	u.want(l)
	switch {
	case l.busy || l.ready:
	case l.empty():
		delete(u.lanes, l.device)
	case len(l.queue) == 0:
	case u.s.Now().Before(l.due):
		u.nudge()
	default:
		l.ready = true
		u.ready = append(u.ready, l)
		u.change.Broadcast()
	}
}

// refill gives ids that were put aside back to the ring, which hands them out again, in its order. One that gave way meanwhile is
// no more.
func (u *Uplink) refill(l *lane) {
	if !l.wants() {
		return
	}
	n := min(len(l.aside), perLane-len(l.queue))
	if u.s.Order == ring.OldestFirst {
		u.giveBack(l.aside[:n])
		l.aside = l.aside[n:]
	} else {
		u.giveBack(l.aside[len(l.aside)-n:])
		l.aside = l.aside[:len(l.aside)-n]
	}
	if len(l.aside) == 0 {
		l.aside = nil
	}
	u.aside -= n
}

func (u *Uplink) giveBack(ids []ring.ID) {
	for _, id := range ids {
		if err := u.s.Ring.Return(id); err != nil {
			u.s.Log.Debug("a message that was put aside is not in the ring any more", "error", err)
		}
	}
}

// work sends the first message of one lane after another.
func (u *Uplink) work(ctx context.Context) {
	for {
		l, it, ok := u.next()
		if !ok {
			return
		}
		began := u.s.Now()
		a := u.client.post(ctx, &it.parcel, it.backlog)
		if ctx.Err() != nil && a.fate != stored {
			u.mu.Lock()
			l.busy = false
			u.mu.Unlock()
			return // it stays in the ring, and is handed out again after the next start
		}
		outcome := a.fate.String()
		if a.duplicate {
			outcome = "duplicate"
		}
		u.s.Answered(outcome, u.s.Now().Sub(began))
		u.settle(l, it, a)
	}
}

func (u *Uplink) next() (*lane, item, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		if u.over {
			return nil, item{}, false
		}
		if !u.closed() && len(u.ready) > 0 {
			l := u.ready[0]
			u.ready = u.ready[1:]
			l.ready = false
			if len(l.queue) > 0 && !l.busy {
				l.busy = true
				return l, l.queue[0], true
			}
			u.offer(l)
			continue
		}
		u.change.Wait()
	}
}

// settle does what the answer asks for.
func (u *Uplink) settle(l *lane, it item, a answer) {
	var lost Refused
	u.mu.Lock()
	l.busy = false
	now := u.s.Now()
	if a.fate != unsure && a.fate != barred {
		u.heard(now)
	}
	switch a.fate {
	case stored:
		u.stored++
		l.since, l.why, l.due, l.pause = time.Time{}, "", time.Time{}, 0
		u.shift(l)
	case refused:
		u.shift(l)
		lost = Refused{l.device, a.status, a.reason, a.detail, 1}
	case forbidden:
		lost = u.forbid(l, a, now)
	case slower:
		l.due = now.Add(u.jitter(max(a.retryAfter, time.Second)))
	default:
		if u.alone(l, it, a, now) {
			u.shift(l)
			lost = Refused{l.device, a.status, "unanswered", "it fails again and again while others pass: " + a.detail, 1}
		}
	}
	u.offer(l)
	u.mu.Unlock()
	if lost != (Refused{}) {
		u.s.Refused(lost)
	}
}

// shift lets the lane's first message go.
func (u *Uplink) shift(l *lane) {
	if len(l.queue) == 0 {
		return
	}
	id := l.queue[0].id
	l.queue = l.queue[1:]
	u.inHand--
	delete(u.suspects, id)
	u.letGo(id)
	u.change.Broadcast()
}

func (u *Uplink) letGo(id ring.ID) {
	if err := u.s.Ring.Done(id); err != nil {
		u.s.Log.Warn("a message that was answered for is not marked, and is sent again after the next start", "error", err)
	}
}

// heard says that the gateway answers.
func (u *Uplink) heard(now time.Time) {
	if !u.state.Up {
		u.s.Log.Info("the gateway answers")
		u.state.Up, u.state.Since = true, now
	}
	u.state.Barred, u.state.Oldest, u.pause = "", time.Time{}, 0
}

// alone handles an attempt that nobody answered for. It says true when the message is to be given up; else everything waits, or only the
// device if it is this message that fails.
func (u *Uplink) alone(l *lane, it item, a answer, now time.Time) (giveUp bool) {
	s := u.suspects[it.id]
	ill := a.fate == unsure && (a.status == 0 || a.status >= 500 && a.status != http.StatusServiceUnavailable)
	if ill && (s.failures == 0 && len(u.suspects) < maxSuspects || s.failures > 0 && s.stored != u.stored) {
		s.failures++
		s.stored = u.stored
		u.suspects[it.id] = s
	}
	if ill && s.failures >= suspect {
		if s.failures >= hopeless {
			return true
		}
		l.pause = min(max(2*l.pause, u.cfg.FirstPause), u.cfg.LastPause)
		l.due = now.Add(u.jitter(l.pause))
		return false
	}
	u.shut(a, now)
	return false
}

// shut makes everything wait. Several attempts that fail at one time are one failure.
func (u *Uplink) shut(a answer, now time.Time) {
	if a.fate == barred && u.state.Barred == "" {
		u.s.Log.Error("the gateway refuses the edge's certificate: what is kept stays until it is enrolled again", "reason", a.reason, "detail", a.detail)
	}
	if a.fate == barred {
		u.state.Barred = fmt.Sprintf("%s: %s", a.reason, a.detail)
	}
	if u.state.Up || u.state.Said == "" {
		u.s.Log.Warn("the gateway does not answer for messages, which are kept", "status", a.status, "reason", a.reason, "detail", a.detail)
		u.state.Since = now
	}
	u.state.Up, u.state.Said = false, fmt.Sprintf("%d %s %s", a.status, a.reason, a.detail)
	u.state.Oldest = u.oldest() // what is in hand is not for long
	if now.Before(u.gate) {
		return
	}
	u.pause = min(max(2*u.pause, u.cfg.FirstPause), u.cfg.LastPause)
	if a.fate == barred {
		u.pause = u.cfg.LastPause
	}
	u.gate = now.Add(max(u.jitter(u.pause), a.retryAfter))
	u.shutting = true // what goes first when it opens is for the ring to say
	u.stir()
	u.nudge()
}

// putBack gives the ring back what of a lane is in hand and not on its way.
func (u *Uplink) putBack(l *lane) {
	keep := 0
	if l.busy && len(l.queue) > 0 {
		keep = 1
	}
	ids := make([]ring.ID, 0, len(l.queue))
	for _, it := range l.queue[keep:] {
		ids = append(ids, it.id)
	}
	u.inHand -= len(ids)
	u.aside -= len(l.aside)
	u.giveBack(append(ids, l.aside...))
	l.queue, l.aside = l.queue[:keep:keep], nil
}

// jitter is between half of d and all of it.
func (u *Uplink) jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// nudge makes watch look again.
func (u *Uplink) nudge() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// watch opens what a time was waited for.
func (u *Uplink) watch(ctx context.Context) {
	for {
		u.mu.Lock()
		now := u.s.Now()
		next := u.gate
		for _, l := range u.lanes {
			if len(l.queue) == 0 || l.busy || l.ready {
				continue
			}
			if !now.Before(l.due) {
				u.offer(l)
			} else if !next.After(now) || l.due.Before(next) {
				next = l.due
			}
		}
		u.change.Broadcast()
		u.mu.Unlock()
		wait := time.Hour
		if next.After(now) {
			wait = next.Sub(now)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-u.wake:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// State says how it goes.
func (u *Uplink) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.state
	for _, l := range u.lanes {
		if !l.since.IsZero() {
			s.Forbidden++
		}
	}
	s.Oldest = u.oldest()
	return s
}

// oldest is when the oldest message was taken of those that are in hand, and of those that were when nothing could be sent.
func (u *Uplink) oldest() time.Time {
	oldest := u.state.Oldest
	for _, l := range u.lanes {
		if len(l.queue) > 0 {
			if at := time.UnixMilli(l.queue[0].parcel.At); oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
	}
	return oldest
}

var errBarred = errors.New("the gateway refuses the edge's certificate")

// Ready says why the edge cannot do its work until somebody does something; a gateway that is away is no reason: the edge keeps.
func (u *Uplink) Ready() error {
	if s := u.State(); s.Barred != "" {
		return fmt.Errorf("%w: %s", errBarred, s.Barred)
	}
	return nil
}
