package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/rehearsal"
	"muster.dev/cmd/muster/stack"
	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/fast"
	"muster.dev/fleet/simulator/plan"
	"muster.dev/fleet/simulator/report"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/daemon"
)

// The files that a simulation leaves in its directory.
const (
	truthFile      = "truth.jsonl"
	reportFile     = "report.json"
	reportTextFile = "report.txt"
)

// tellEvery is how often a person is told how far it is.
const tellEvery = 2 * time.Second

// outDir is where a simulation leaves what it made.
func (f *frame) outDir(o *simulation, s *scenario.Scenario) (stack.Dir, error) {
	if o.out != "" {
		return stack.OpenDir(o.out)
	}
	dir, err := f.dir()
	if err != nil {
		return "", err
	}
	return stack.OpenDir(filepath.Join(string(dir), "simulations", s.Name))
}

// unwritable is why the log of a simulation cannot be written.
type unwritable struct{ error }

// playFast writes a scenario onto a log of its own, and reports what the store made of it.
func (f *frame) playFast(cmd *cobra.Command, o *simulation, s *scenario.Scenario) (err error) {
	w, err := world.New(s, s.Seed)
	if err != nil {
		return misuse{err}
	}
	dir, err := f.outDir(o, s)
	if err != nil {
		return err
	}
	ctx, cancel := contextWithCancel(cmd)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	log := daemon.NewLog(f.Err, slog.LevelError, "simulate", f.Version)
	place, err := rehearsal.Open(ctx, rehearsal.Settings{Dir: dir, Store: o.store, About: w.Header(), Log: log,
		Failed: func(err error) { fail(unwritable{err}) }})
	if errors.Is(err, stack.ErrOccupied) {
		return misuse{err}
	}
	if err != nil {
		return err
	}
	defer func() {
		var full unwritable
		switch cause := context.Cause(ctx); { // what else went wrong is only what follows from it
		case err == nil || cause == nil:
		case errors.As(cause, &full):
			err = fmt.Errorf("%w: make room, or name a DIR elsewhere with --out; what is in %s is no whole simulation", full, dir.Shown())
		default:
			err = fmt.Errorf("stopped before its end (%w): what is in %s is no whole simulation; run it again, it begins anew", cause, dir.Shown())
		}
		err = errors.Join(err, place.Close())
	}()
	to, err := place.Log()
	if err != nil {
		return err
	}
	f.say("%s, seed %d: %d devices, %s of %s, onto %s", s.Name, s.Seed, len(w.Devices()), scenario.FormatSpan(s.Lasts), s.Begins.Format("2006-01-02"), dir.Shown())
	for _, out := range w.Outages() {
		if out.Kind == plan.SinkStalled {
			f.say("not as the scenario says: the stall of the sink on %s changes nothing on the log, and the sink of fast time stores by no clock", time.UnixMilli(out.At).UTC().Format("2006-01-02 15:04"))
		}
	}
	began := time.Now()
	meter := newMeter(f, s, began)
	result, err := fast.Run(ctx, fast.Settings{
		World: w, Log: to, Workers: o.workers, Beat: o.beat, Losses: o.store, Progress: meter.tell,
		Ready: func() error { return place.Follow(ctx, fast.Profiles(s)) },
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	f.say("%d records in %s: %.0f a second, %.0f x real time; sha256 of telemetry and events %s",
		result.Records, took.Round(10*time.Millisecond), float64(result.Records)/took.Seconds(), s.Lasts.Seconds()/took.Seconds(), result.Sum())
	if err := stack.WriteTruth(filepath.Join(string(dir), truthFile), w, result.Lines); err != nil {
		return err
	}
	if !o.store {
		f.say("the log is in %s, the truth in %s", dir.Shown(), stack.Shown(filepath.Join(string(dir), truthFile)))
		return nil
	}
	if err := f.settle(ctx, place); err != nil {
		return err
	}
	facts, err := place.Count(ctx, w, result)
	if err != nil {
		return err
	}
	facts.Took, facts.Settled = took, time.Since(began)
	return f.deliver(dir, report.Make(facts))
}

// deliver prints a report and leaves it in a directory.
func (f *frame) deliver(dir stack.Dir, r report.Report) error {
	text := r.Text()
	if err := stack.WriteJSON(filepath.Join(string(dir), reportFile), r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(string(dir), reportTextFile), []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	var err error
	if f.json {
		err = f.printJSON(r)
	} else {
		_, err = io.WriteString(f.Out, text)
	}
	if err != nil {
		return err
	}
	f.say("the truth and the report are in %s", dir.Shown())
	if dir.Simulated() {
		f.say("its data too: muster up --data %s --devices 0 opens it to query", dir.Shown())
	}
	if !r.Check.OK {
		return finding{fmt.Errorf("not every message that arrived is stored exactly once")}
	}
	return nil
}

// settle waits until the store has everything.
func (f *frame) settle(ctx context.Context, place *rehearsal.Rehearsal) error {
	began, last := time.Now(), time.Now()
	var first int64 = -1
	return place.Settle(ctx, func(p rehearsal.Progress) {
		if first < 0 {
			first = p.Stored
		}
		if time.Since(last) < tellEvery {
			return
		}
		last = time.Now()
		rate := float64(p.Stored-first) / time.Since(began).Seconds()
		eta := "-"
		if rate > 0 {
			eta = time.Duration(float64(p.Written-p.Stored) / rate * float64(time.Second)).Round(time.Second).String()
		}
		f.say("the store has %d of %d records, %.0f a second, %s to go", p.Stored, p.Written, rate, eta)
	})
}

// meter says how far a run is.
type meter struct {
	f        *frame
	scenario *scenario.Scenario
	began    time.Time
	last     time.Time
}

func newMeter(f *frame, s *scenario.Scenario, began time.Time) *meter {
	return &meter{f: f, scenario: s, began: began, last: began}
}

func (m *meter) tell(p fast.Progress) {
	now := time.Now()
	if now.Sub(m.last) < tellEvery {
		return
	}
	m.last = now
	took := now.Sub(m.began).Seconds()
	speed := p.Done * m.scenario.Lasts.Seconds() / took
	left := time.Duration((1 - p.Done) / p.Done * took * float64(time.Second)).Round(time.Second)
	m.f.say("%s  %s  %3.0f %%  %.0f x real time, %.0f records/s, %s to go",
		p.At.Format("2006-01-02 15:04"), bar(p.Done, 20), 100*p.Done, speed, float64(p.Records)/took, left)
}

func bar(share float64, width int) string {
	full := min(width, int(share*float64(width)+0.5))
	return strings.Repeat("#", full) + strings.Repeat(".", width-full)
}
