package simulator

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"muster.dev/fleet/device"
	"muster.dev/proto/record"
)

// unit is one simulated device.
type unit struct {
	fleet  *Fleet
	name   string
	dir    string
	client *device.Client
	outbox *device.Outbox
	rng    *rand.Rand // of its rhythm; its values have their own

	boot   uint32
	seq    uint64
	sensor *sensor
	batch  encoder
}

func newUnit(f *Fleet, name, dir string, client *device.Client) *unit {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	u := &unit{fleet: f, name: name, dir: dir, client: client, rng: rand.New(rand.NewPCG(f.cfg.Seed, ^h.Sum64()))}
	u.outbox = device.NewOutbox(client, f.cfg.Outbox, u.answered)
	u.outbox.LoseAnswers(func() bool { return rand.Float64() < f.cfg.Resend })
	return u
}

// run lives until ctx ends, posts what it holds and leaves.
func (u *unit) run(ctx context.Context) error {
	defer u.client.Close()
	if err := u.reboot(time.Now()); err != nil {
		return err
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { u.outbox.Run(sending) })
	defer wg.Wait()
	defer stop()

	now := time.Now()
	// What a device calls now comes from the steady clock: a wall clock set back would give one message one time twice.
	clock := func() time.Time { return now.Add(time.Since(now)) }
	// Devices were not switched on at one instant.
	step := now.Add(rand.N(u.fleet.cfg.Step))
	post := now.Add(u.spread(u.fleet.cfg.Post) - u.fleet.cfg.Step)
	reboot := now.Add(u.life())
	timer := time.NewTimer(time.Until(step))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			err := u.post()
			u.leave()
			return err
		case <-timer.C:
		}
		at := clock()
		if at.After(reboot) {
			if err := errors.Join(u.post(), u.reboot(at)); err != nil {
				return err
			}
			reboot = at.Add(u.life())
		}
		u.batch.add(u.sensor.step(at))
		if !at.Before(post) || u.batch.full() {
			if err := u.post(); err != nil {
				return err
			}
			post = at.Add(u.spread(u.fleet.cfg.Post))
		}
		step = step.Add(u.spread(u.fleet.cfg.Step))
		if late := time.Until(step); late < 0 {
			step = clock() // a machine that slept does not measure what it slept through
		}
		timer.Reset(time.Until(step))
	}
}

// reboot begins the next boot. Its number is on the disk before the first message carries it: a number used
// twice would give two messages one key.
func (u *unit) reboot(now time.Time) error {
	path := filepath.Join(u.dir, "boot")
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("device %s: reading its boot counter: %w", u.name, err)
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 31)
	if err != nil && len(raw) > 0 {
		return fmt.Errorf("device %s: its boot counter %s: %w", u.name, path, err)
	}
	u.boot, u.seq = uint32(last)+1, 0
	if err := replace(path, strconv.FormatUint(uint64(u.boot), 10)+"\n"); err != nil {
		return fmt.Errorf("device %s: writing its boot counter: %w", u.name, err)
	}
	u.sensor = newSensor(u.fleet.cfg.Seed, u.name, u.boot, now)
	return nil
}

func replace(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// post hands what was measured to the outbox.
func (u *unit) post() error {
	body, values, err := u.batch.take(u.boot, u.seq)
	if err != nil {
		return fmt.Errorf("device %s: building a message: %w", u.name, err)
	}
	if values > 0 {
		u.outbox.Put(device.Message{Boot: u.boot, Seq: u.seq, Values: values, Body: body})
		u.seq++
	}
	return nil
}

// answered is called by the outbox, in order, for each message that is in the log or never will be.
func (u *unit) answered(m device.Message, o device.Outcome) {
	if o.Refusal != nil {
		u.fleet.settings.Log.Warn("a message was refused", "device", u.name, "boot", m.Boot, "seq", m.Seq, "status", o.Refusal.Status, "why", o.Refusal.Error())
		return
	}
	u.fleet.metrics.values.Add(float64(m.Values))
	if u.fleet.journal != nil {
		u.fleet.journal.Append(Line{
			Device: u.name, Boot: m.Boot, Seq: m.Seq, Hash: record.Hash(m.Body), Values: m.Values,
			Duplicate: o.Receipt.Duplicate, Attempts: o.Receipt.Attempts, At: time.Now().UnixMilli(),
		})
	}
}

// leave waits a little for the outbox to empty.
func (u *unit) leave() {
	end := time.NewTimer(u.fleet.last)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for u.outbox.Counts().Waiting > 0 {
		select {
		case <-end.C:
			return
		case <-look.C:
		}
	}
}

// spread moves a time by up to a tenth.
func (u *unit) spread(d time.Duration) time.Duration {
	return d + time.Duration((u.rng.Float64()-0.5)*0.2*float64(d))
}

// life is the time to the next reboot.
func (u *unit) life() time.Duration {
	if u.fleet.cfg.Reboot == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return time.Duration(u.rng.ExpFloat64() * float64(u.fleet.cfg.Reboot))
}
