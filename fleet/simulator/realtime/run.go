package realtime

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/truth"
)

// lastChance is how long the devices try to deliver what they hold when the end has come.
const lastChance = 10 * time.Second

// tellEvery is how often Progress is called.
const tellEvery = time.Second

// Result is what a run did.
type Result struct {
	Told   []report.Told // by device
	Lines  []truth.Line
	Counts Counts
	Until  int64 // when it ended, Unix ms
}

type run struct {
	Settings
	cfg    Config
	table  *table
	seats  []*seat
	told   []report.Told
	length int // days

	mu    sync.Mutex // over those below
	lines []truth.Line
	days  []truth.Count // by cohort, then by day

	dials, stored, duplicates, refused, retried, dropped, waiting counted
	behind, slowest, took, answers                                counted
}

// Run plays the world until it ends, or ctx does: what the devices hold then gets a last chance.
func Run(ctx context.Context, cfg Config, s Settings) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r := &run{Settings: s, cfg: cfg, table: newTable(), told: make([]report.Told, len(s.World.Devices())), length: s.World.Day(s.World.Until()-1) + 1}
	r.days = make([]truth.Count, r.length*len(s.World.Scenario().Cohorts))
	if err := r.seatAll(); err != nil {
		return Result{}, err
	}
	defer func() {
		for _, s := range r.seats {
			s.way.close()
		}
	}()
	if s.Metrics != nil {
		if err := s.Metrics.Register(r); err != nil {
			return Result{}, fmt.Errorf("the fleet's metrics: %w", err)
		}
	}
	r.play(ctx)
	r.leave()
	until := min(s.World.Until(), time.Now().UnixMilli())
	for _, x := range r.seats {
		r.last(x, until)
	}
	for i := range r.told {
		slices.Sort(r.told[i].LostAt) // a store gives up its oldest long after newer ones were lost
	}
	out := Result{Told: r.told, Lines: append(s.World.Truth(), r.lines...), Counts: r.counts(), Until: until}
	out.Lines = append(out.Lines, r.expected()...)
	return out, nil
}

// seatAll reads every identity, so that a missing one stops the start and not a device.
func (r *run) seatAll() error {
	gateway, err := url.Parse(r.cfg.Gateway)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	devices := r.World.Devices()
	byMQTT := 0.0
	cohorts := r.World.Scenario().Cohorts
	for i := range devices {
		id, err := r.Identity(devices[i].ID)
		if err != nil {
			return err
		}
		s := &seat{index: i, every: cohorts[devices[i].Cohort].Interval.Milliseconds(), life: r.World.Life(i)}
		// Dealt evenly: the i-th is by MQTT where the sum of shares passes a whole.
		if byMQTT += r.cfg.Share; byMQTT >= 1 {
			byMQTT--
			s.way = newSession(r.cfg.MQTT, id, &r.dials)
		} else {
			s.way = newLink(gateway, id, &r.dials)
		}
		if s.alive = s.life.Next(&s.next); s.alive {
			s.wake = s.next.At
			r.table.sit(s)
		}
		r.seats = append(r.seats, s)
	}
	return nil
}

func (r *run) play(ctx context.Context) {
	due := make(chan *seat)
	var workers, teller sync.WaitGroup
	for range r.cfg.Workers {
		workers.Go(func() {
			for s := range due {
				r.live(ctx, s, time.Now().UnixMilli())
				r.table.sit(s)
			}
		})
	}
	ended := make(chan struct{})
	teller.Go(func() { r.tell(ended) })
	r.table.serve(ctx, r.World.Until(), due)
	close(due)
	workers.Wait()
	close(ended)
	teller.Wait()
}

func (r *run) tell(ended <-chan struct{}) {
	if r.Progress == nil {
		return
	}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.Progress(r.counts())
		case <-ended:
			return
		}
	}
}

// leave gives each device a last chance to deliver what it holds. What the lives would still have said is not said.
func (r *run) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), lastChance) // the run's has ended
	defer cancel()
	left := make(chan *seat)
	var workers sync.WaitGroup
	for range r.cfg.Workers {
		workers.Go(func() {
			for s := range left {
				for len(s.queue) > 0 && ctx.Err() == nil {
					wait := r.send(ctx, s)
					if wait == 0 {
						break
					}
					select {
					case <-time.After(wait):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	for _, s := range r.seats {
		if len(s.queue) > 0 {
			left <- s
		}
	}
	close(left)
	workers.Wait()
}

func (r *run) counts() Counts {
	c := Counts{
		Devices: int64(len(r.seats)), Dials: r.dials.value(), Stored: r.stored.value(), Duplicates: r.duplicates.value(), Refused: r.refused.value(),
		Retries: r.retried.value(), Dropped: r.dropped.value(), Waiting: r.waiting.value(),
		Behind: time.Duration(r.behind.value()) * time.Millisecond, Slowest: time.Duration(r.slowest.value()) * time.Millisecond,
	}
	if n := r.answers.value(); n > 0 {
		c.Answered = time.Duration(r.took.value() / n)
	}
	return c
}
