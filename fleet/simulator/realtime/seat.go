package realtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"muster.dev/fleet/device"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
	"muster.dev/fleet/simulator/world"
	"muster.dev/proto/record"
)

// way is how a device's messages get to the gateway. One goroutine at a time uses it.
type way interface {
	// post makes one attempt, as device.Client.Post does.
	post(ctx context.Context, stream world.Stream, backlog bool, body []byte) (device.Receipt, error)
	close()
}

// message waits to be answered for.
type message struct {
	at      int64
	stream  world.Stream
	boot    uint32
	seq     uint64
	copy    bool
	clone   bool
	backlog bool
	body    []byte
}

// seat is a device at the table: its life, its connection and what waits. It is worked by one goroutine at a time.
type seat struct {
	index   int
	every   int64 // its interval in ms
	wake    int64 // Unix ms at which there is something to do
	life    *world.Life
	next    world.Happening
	alive   bool // next is still to happen
	way     way
	queue   []message
	retries int
}

// live does what is due, and says when there is more to do; never is chance.Never.
func (r *run) live(ctx context.Context, s *seat, now int64) {
	for s.alive && s.next.At <= now {
		r.happen(s)
		s.alive = s.life.Next(&s.next)
	}
	retry := r.send(ctx, s)
	s.wake = chance.Never
	if s.alive {
		s.wake = s.next.At
	}
	if retry > 0 {
		s.wake = min(s.wake, now+retry.Milliseconds())
	}
}

func (r *run) happen(s *seat) {
	h := &s.next
	told := &r.told[s.index]
	switch h.Kind {
	case world.Fact:
		r.mu.Lock()
		r.lines = append(r.lines, h.Truth)
		r.mu.Unlock()
	case world.Tally:
		told.Made += uint64(h.Count.Made)
		r.mu.Lock()
		r.days[r.day(s.index, h.Day)].Add(h.Count)
		r.mu.Unlock()
	case world.Lost:
		if h.Message.Stream == world.Telemetry {
			told.Lost++
			told.LostAt = append(told.LostAt, uint32(max(0, h.Message.Made-r.World.Begins())/1000))
		}
	case world.Deliver:
		m := &h.Message
		if m.Revoked {
			return // Unplayed says so
		}
		if len(s.queue) == r.cfg.Queue {
			s.queue = append(s.queue[:0], s.queue[1:]...)
			r.dropped.add(1)
			r.waiting.add(-1)
		}
		if m.Stream == world.Telemetry && !m.Clone && !m.Copy {
			told.Clock.See(m.Made, m.Off, s.every)
		}
		body := rebase(m.Stream, m.Body, r.Boots)
		s.queue = append(s.queue, message{at: h.At, stream: m.Stream, boot: m.Boot + r.Boots, seq: m.Seq, copy: m.Copy, clone: m.Clone, backlog: m.Backlog, body: body})
		r.waiting.add(1)
	}
}

// send posts what waits, in order, until something is not answered for; then it says when to try again.
func (r *run) send(ctx context.Context, s *seat) time.Duration {
	for len(s.queue) > 0 {
		m := &s.queue[0]
		began := time.Now()
		r.behind.most(began.UnixMilli() - m.at)
		receipt, err := s.way.post(ctx, m.stream, m.backlog, m.body)
		took := time.Since(began)
		var unsure *device.Unsure
		if errors.As(err, &unsure) {
			r.retried.add(1)
			s.retries++
			return max(unsure.RetryAfter, pause(s.retries))
		}
		if err != nil && ctx.Err() != nil {
			return time.Second // the end has come
		}
		s.retries = 0
		r.answered(s, m, receipt, err, took)
		s.queue[0] = message{}
		s.queue = s.queue[1:]
		r.waiting.add(-1)
	}
	s.queue = nil
	return 0
}

// pause grows from a quarter of a second to fifteen, and is between half of that and all of it.
func pause(tries int) time.Duration {
	d := min(15*time.Second, 250*time.Millisecond<<min(tries-1, 10))
	return d/2 + rand.N(d/2+1)
}

func (r *run) answered(s *seat, m *message, receipt device.Receipt, err error, took time.Duration) {
	r.slowest.most(took.Milliseconds())
	r.took.add(took.Nanoseconds())
	r.answers.add(1)
	told := &r.told[s.index]
	if err != nil {
		told.Refused++
		r.refused.add(1)
		r.Log.Warn("a message was refused", "device", r.World.Devices()[s.index].ID, "boot", m.boot, "seq", m.seq, "why", err)
		return
	}
	if receipt.Duplicate {
		r.duplicates.add(1)
		told.Known++
	}
	r.stored.add(1)
	told.Arrive(report.Arrival{
		Events: m.stream == world.Events, Copy: m.copy, Clone: m.clone, Boot: m.boot, Seq: m.seq, Hash: record.Hash(m.body),
	})
}

// last tells what a life still says about what is over, and counts as made what it has not come to count.
func (r *run) last(s *seat, until int64) {
	for s.alive && s.next.At <= until {
		if s.next.Kind != world.Deliver {
			r.happen(s)
		}
		s.alive = s.life.Next(&s.next)
	}
	told := &r.told[s.index]
	known := told.Arrived + told.Lost
	for i := range s.queue {
		if m := &s.queue[i]; m.stream == world.Telemetry && !m.copy && !m.clone {
			known++
		}
	}
	told.Made = max(told.Made, known)
}

// day is the place of a device's day among the counts.
func (r *run) day(device, day int) int {
	return r.World.Devices()[device].Cohort*r.length + min(day, r.length-1)
}

// expected are the lines of truth about the cohorts' days.
func (r *run) expected() (out []truth.Line) {
	const day = int64(24 * time.Hour / time.Millisecond)
	for i, c := range r.days {
		at := r.World.Begins() + int64(i%r.length)*day
		out = append(out, truth.Line{At: truth.Time(at), Until: truth.Time(min(at+day, r.World.Until())), Kind: truth.Expected,
			Cohort: r.World.Scenario().Cohorts[i/r.length].Name, Detail: c.Detail()})
	}
	return out
}
