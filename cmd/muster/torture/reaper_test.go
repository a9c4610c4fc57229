//go:build linux

package torture

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"muster.dev/cmd/muster/stack"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

const (
	everyPartition = "every partition stores again"
	takenOver      = "what the dead sink owned is stored again"
	reprieve       = 5 * time.Second
)

// Row 2 of the fault matrix. Three sinks share twelve partitions; one of them, drawn, is killed every 0.5 to 3 s and
// started again at once. Full: half an hour, and ten million messages.
func TestTortureThreeSinksThatKeepDyingStoreEveryMessageOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	n := seed(t)
	form, p := timings("three sinks, one always dying")
	rate, devices, d := 1500, 60, 12*time.Second
	if full() {
		rate, devices, d = 5600, 240, 30*time.Minute
	}
	d = length(t, d)
	s := newSite(t, n, p)
	s.partitions = 12
	s.start()
	s.hold(stack.Sink)
	r := &run{site: s, report: newReport(form, n)}
	var sinks [3]*proc
	for i := range sinks {
		sinks[i] = s.run(stack.Sink)
	}
	f := s.startFlood(devices, rate, int64(float64(rate)*d.Seconds()))
	if _, err := s.moves(time.Now(), patience); err != nil {
		t.Fatalf("before any death: %v", err)
	}
	w := s.watchTide()
	r.report.began = time.Now()
	// The last messages are those by which the last death is seen to be made good.
	for f.total-f.sent.Load() > int64(rate)*int64(reprieve/time.Second) && !f.broken() {
		<-time.After(500*time.Millisecond + r.upTo(2500*time.Millisecond))
		i := r.rng.IntN(len(sinks))
		if sinks[i].dead() {
			t.Errorf("%s ended by itself", sinks[i].name)
		}
		owned := s.owned(sinks[i].name)
		at := time.Now()
		sinks[i].kill()
		w.died(at, owned)
		sinks[i] = s.run(stack.Sink)
		r.report.Faults++
		r.report.Crashes++
	}
	ended := time.Now()
	backlog, err := s.backlog(t.Context())
	if err != nil {
		t.Error(err)
	}
	<-f.done
	took := time.Since(f.epoch)
	r.report.note("%d messages in %s, %.0f a second, and %d of them sent again", f.sent.Load(), took.Round(time.Second), float64(f.sent.Load())/took.Seconds(), f.again.Load())
	w.settle(r)
	s.hold(stack.Gateway) // its watermarks, else, have no end
	_, records := s.stretches(&verdict{})
	s.caughtUp(records)
	r.report.note("after the last death %d records were behind; everything was stored %s later, and for %s of that more came; the farthest behind a partition was %s",
		backlog, time.Since(ended).Round(100*time.Millisecond), reprieve, w.farthest.Round(100*time.Millisecond))
	v := s.judgeFlood(f)
	for _, p := range sinks {
		if p.dead() {
			t.Errorf("%s ended by itself", p.name)
		}
	}
	r.report.print(t, v)
}

// owned are the partitions of telemetry that the group gives to a client; none while it joins.
func (s *site) owned(client string) []int32 {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	adm, err := s.adm()
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := adm.DescribeGroups(ctx, principals.Group)
	if err != nil {
		s.t.Logf("asking who owns what: %v", err)
		return nil
	}
	var parts []int32
	for _, m := range all[principals.Group].Members {
		c, ok := m.Assigned.AsConsumer()
		if !ok || m.ClientID != client {
			continue
		}
		for _, t := range c.Topics {
			if t.Topic == record.TopicTelemetry {
				parts = append(parts, t.Partitions...)
			}
		}
	}
	return parts
}

// backlog is how many records the log holds that the ledger does not.
func (s *site) backlog(ctx context.Context) (int64, error) {
	adm, err := s.adm()
	if err != nil {
		return 0, err
	}
	ends, err := adm.ListEndOffsets(ctx, record.TopicTelemetry, record.TopicEvents)
	if err != nil {
		return 0, err
	}
	var n uint64
	if err := s.house.Conn().QueryRow(ctx, "SELECT count() FROM muster.ledger").Scan(&n); err != nil {
		return 0, err
	}
	total := -int64(n)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	return total, nil
}

// lookout watches how far the ledger reaches, and tells for each death when what it held up was stored again.
type lookout struct {
	site     *site
	quit     chan struct{}
	done     sync.WaitGroup
	farthest time.Duration // that a partition was behind

	mu    sync.Mutex // over the two below
	open  []death
	times map[string][]time.Duration
}

// death is one that the ledger has not made good.
type death struct {
	at    time.Time
	owned []int32 // nil once they were taken over
}

const lookEvery = 200 * time.Millisecond

// watchTide begins to watch; the site's tide is the lookout's until settle.
func (s *site) watchTide() *lookout {
	w := &lookout{site: s, quit: make(chan struct{}), times: map[string][]time.Duration{}}
	w.done.Go(w.watch)
	s.t.Cleanup(w.end)
	return w
}

func (w *lookout) died(at time.Time, owned []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, death{at, owned})
}

func (w *lookout) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		low, err := w.site.frontier(ctx)
		cancel()
		if err == nil {
			w.look(time.Now(), low)
		}
	}
}

func (w *lookout) look(now, low time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.farthest = max(w.farthest, now.Sub(low))
	left := w.open[:0]
	for _, d := range w.open {
		if d.owned != nil && w.reached(d.owned, d.at) {
			w.times[takenOver] = append(w.times[takenOver], now.Sub(d.at))
			d.owned = nil
		}
		if low.After(d.at) {
			w.times[everyPartition] = append(w.times[everyPartition], now.Sub(d.at))
			continue
		}
		left = append(left, d)
	}
	w.open = left
}

func (w *lookout) reached(parts []int32, at time.Time) bool {
	for _, p := range parts {
		if !w.site.tide.parts[p].at.After(at) {
			return false
		}
	}
	return true
}

func (w *lookout) end() {
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	w.done.Wait()
}

// settle waits until every death is made good, ends the watching and reports.
func (w *lookout) settle(r *run) {
	w.site.t.Helper()
	err := w.site.within(10*time.Minute, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.open); n > 0 {
			return fmt.Errorf("%d are not, the first of %s", n, w.open[0].at.Format("15:04:05"))
		}
		return nil
	})
	if err != nil {
		w.site.t.Errorf("deaths that are not made good ten minutes after the last: %v", err)
	}
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, d := range w.times {
		for _, t := range d {
			r.report.took(name, t)
		}
	}
}
