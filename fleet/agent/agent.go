package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/health"
	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/agent/send"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// Agent is one start of a device's agent. Record, Event, Sync and Status may be called from several goroutines, also
// before Run.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	version string
	updater Updater
	boot    uint32
	ring    *ring.Ring
	sender  *send.Sender
	life    *health.Life
	began   map[string]any // fields of the boot event
	sameOS  bool           // the kernel has not started since the agent ran last
	opened  time.Time

	gather gather
	full   chan struct{}

	lastLook string // what was wrong with crash reports; of watch alone

	putting sync.Mutex // guards what follows; held while a message is put
	builder *batch.Builder
	seqs    [3]uint64      // of the next message, by kind
	stuck   []byte         // a batch that the disk did not take: its number is its own
	early   []event.Device // events that wait for the clock; their TS is of the monotonic clock

	mu       sync.Mutex // guards identity
	identity est.Identity
}

// maxEarly bounds the events that wait for the clock.
const maxEarly = 100

// New counts a start and opens what the agent keeps on the disk. version is the agent's own. Run, or Close, must follow.
func New(cfg Config, version string, u Updater, log *slog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// A version that cannot be sent would hold every message back.
	if err := (&event.Message{Firmware: u.Firmware(), Events: []event.Device{{Type: event.Heartbeat}}}).Validate(); err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	id, err := est.Load(cfg.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; `muster-agent enrol` gets one", err)
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if cfg.Machine.Disk == "" {
		cfg.Machine.Disk = cfg.State
	}
	a := &Agent{cfg: cfg, log: log, version: version, updater: u, identity: id, opened: time.Now(), full: make(chan struct{}, 1), builder: batch.NewBuilder()}
	a.gather.full, a.gather.enough = a.full, cfg.BatchValues
	// The ring's lock is the agent's: whoever holds it counts the start.
	if a.ring, err = ring.Open(filepath.Join(cfg.State, "ring"), cfg.Ring); err != nil {
		return nil, err
	}
	if a.boot, err = nextBoot(filepath.Join(cfg.State, "boot"), time.Now(), id.Floor()); err == nil {
		a.life, a.began, a.sameOS, err = cfg.Machine.Begin(filepath.Join(cfg.State, "life.json"))
	}
	if err == nil {
		a.sender, err = send.New(cfg.Send, id, a.ring, log)
	}
	if err != nil {
		return nil, errors.Join(err, a.ring.Close())
	}
	return a, nil
}

// Record takes a reading: an int64, a float64, a bool or a string. at zero is now. It does not wait for the disk; Sync does.
func (a *Agent) Record(metric string, value any, at time.Time) error {
	return a.RecordSet(map[string]any{metric: value}, at)
}

// RecordSet takes readings of one time. Those that cannot be sent are left out, and the error says which.
func (a *Agent) RecordSet(values map[string]any, at time.Time) error {
	r := reading{}
	if at.IsZero() {
		r.taken = time.Now()
		if a.clockSet(r.taken) {
			r.at = r.taken.UnixMilli()
		}
	} else if r.at = at.UnixMilli(); r.at == 0 {
		r.at = 1 // 0 is for what waits for the clock
	}
	var err error
	set := make([]reading, 0, len(values))
	for _, metric := range slices.Sorted(maps.Keys(values)) {
		r.metric, r.value = metric, values[metric]
		if wrong := check(metric, r.value); wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		set = append(set, r)
	}
	a.gather.add(set...)
	return err
}

// Event takes an event, a message of its own. TS 0 is now. It is on the disk when Event returns nil, unless the clock is not
// set: then it waits in memory.
func (a *Agent) Event(e event.Device) error {
	now := time.Now()
	a.putting.Lock()
	defer a.putting.Unlock()
	if e.TS == 0 {
		if !a.clockSet(now) {
			if len(a.early) == maxEarly {
				return errors.New("too many events wait for the clock to be set")
			}
			e.TS = int64(now.Sub(a.opened))
			a.early = append(a.early, e)
			return nil
		}
		e.TS = now.UnixMilli()
	}
	return a.put(e)
}

// put makes an event a message and puts it into the ring. putting is held.
func (a *Agent) put(e event.Device) error {
	m := event.Message{Keyed: true, Boot: a.boot, Seq: a.seqs[send.Events], Firmware: a.updater.Firmware(), Events: []event.Device{e}}
	p, err := m.AppendTo(nil)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.Type, err)
	}
	a.seqs[send.Events]++ // also if the disk does not take it: its number is never another's
	if _, err := a.ring.Put(p, send.Events); err != nil {
		return fmt.Errorf("event %s: %w", e.Type, err)
	}
	return nil
}

// clockSet says whether the time can be right: it is not before the certificate's begin.
func (a *Agent) clockSet(now time.Time) bool { return !now.Before(a.id().Floor()) }

func (a *Agent) id() est.Identity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.identity
}

// Sync makes messages of all readings so far. On nil they are on the disk, but for those that wait for the clock to be set.
func (a *Agent) Sync() (waiting int, err error) {
	a.putting.Lock()
	defer a.putting.Unlock()
	if err := a.sync(); err != nil {
		return 0, err
	}
	if !a.clockSet(time.Now()) {
		waiting, _ = a.gather.count()
		waiting += len(a.early)
	}
	return waiting, nil
}

func (a *Agent) sync() error {
	if a.stuck != nil {
		if _, err := a.ring.Put(a.stuck, send.Telemetry); err != nil {
			return err
		}
		a.stuck = nil
	}
	now := time.Now()
	set := a.clockSet(now)
	for set && len(a.early) > 0 {
		e := a.early[0]
		e.TS = now.Add(time.Duration(e.TS) - now.Sub(a.opened)).UnixMilli()
		if err := a.put(e); err != nil {
			return err
		}
		a.early = a.early[1:]
	}
	for {
		readings := a.gather.take(set, a.cfg.BatchValues, a.cfg.BatchBytes)
		if len(readings) == 0 {
			return nil
		}
		p, err := build(a.builder, a.boot, a.seqs[send.Telemetry], a.updater.Firmware(), readings)
		if err != nil {
			return err
		}
		a.seqs[send.Telemetry]++
		if _, err := a.ring.Put(p, send.Telemetry); err != nil {
			a.stuck = p
			return err
		}
	}
}

// Close ends an agent that does not run. What was recorded is put on the disk.
func (a *Agent) Close() error {
	waiting, err := a.Sync()
	if waiting > 0 {
		err = fmt.Errorf("%d readings and events are lost: the clock was never set", waiting)
	}
	return errors.Join(err, a.life.End(), a.ring.Close())
}
