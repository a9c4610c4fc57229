package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/agent/health"
	"muster.dev/fleet/agent/ring"
	"muster.dev/fleet/agent/send"
	"muster.dev/proto/event"
)

// Run sends, renews, beats and tells until ctx ends; then it puts what was recorded on the disk and closes.
func (a *Agent) Run(ctx context.Context) error {
	a.log.Info("the agent runs", "device", a.id().Device, "boot", a.boot, "reason", a.began["reason"], "waiting", a.ring.Counts().Waiting, "firmware", a.updater.Firmware())
	began := maps.Clone(a.began)
	began["agent"] = a.version
	a.tell(health.Event(event.Boot, 0, began))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.sender.Run(ctx); err != nil {
			cancel(err) // nothing is sent any more
		}
	})
	wg.Go(func() { a.flush(ctx) })
	wg.Go(func() { a.watch(ctx) })
	wg.Go(func() {
		if err := a.updater.Run(ctx, func(e event.Device) error { return a.eventForSure(ctx, e) }); err != nil {
			a.log.Error("updates", "error", err)
		}
	})
	if a.cfg.EST != "" {
		wg.Go(func() { est.Keep(ctx, a.cfg.est(), a.id(), a.use, a.notRenewed) })
	}
	if a.cfg.Errors != "" {
		wg.Go(func() {
			if err := health.Complaints(ctx, a.cfg.Errors, !a.sameOS, a.tell); err != nil {
				a.log.Warn("the operating system's errors are not told", "error", err)
			}
		})
	}
	wg.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.Close())
}

func (a *Agent) use(id est.Identity) {
	a.mu.Lock()
	a.identity = id
	a.mu.Unlock()
	a.sender.Use(id)
	a.log.Info("the certificate is renewed", "until", id.Leaf().NotAfter)
}

func (a *Agent) notRenewed(err error, wait time.Duration) {
	a.log.Warn("the certificate is not renewed", "ends", a.id().Leaf().NotAfter, "again_in", wait, "error", err)
}

// tell takes an event of the agent's own.
func (a *Agent) tell(e event.Device) {
	if err := a.Event(e); err != nil {
		a.log.Error("an event is lost", "type", e.Type, "error", err)
	}
}

// eventForSure waits until the clock is set, so that the event is on the disk when it returns nil.
func (a *Agent) eventForSure(ctx context.Context, e event.Device) error {
	for !a.clockSet(time.Now()) {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return a.Event(e)
}

// flush makes messages of readings when there are enough, or when they have waited long enough.
func (a *Agent) flush(ctx context.Context) {
	t := time.NewTicker(a.cfg.BatchAge)
	defer t.Stop()
	failed := false
	for {
		select {
		case <-t.C:
		case <-a.full:
		case <-ctx.Done():
			return
		}
		_, err := a.Sync()
		if err != nil && !failed {
			a.log.Error("the disk takes no messages; readings are kept in memory, as far as they fit", "error", err)
		} else if err == nil && failed {
			a.log.Info("the disk takes messages again")
		}
		failed = err != nil
	}
}

// watch beats, and looks for crash reports.
func (a *Agent) watch(ctx context.Context) {
	every := a.cfg.Heartbeat
	if every == 0 {
		every = time.Hour // of the looks for crash reports
	}
	// Devices that got their power back together do not beat together.
	t := time.NewTimer(every/2 + rand.N(every/2+1))
	defer t.Stop()
	for {
		a.crashes()
		if a.cfg.Heartbeat > 0 {
			a.tell(health.Event(event.Heartbeat, 0, a.vitals()))
		}
		select {
		case <-t.C:
			t.Reset(every)
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) crashes() {
	if !a.clockSet(time.Now()) {
		return // a file is not let go for an event that is in memory only
	}
	reports, err := a.cfg.Machine.Crashes(time.Now(), a.life, a.cfg.Crashes)
	if said := fmt.Sprint(err); err != nil && said != a.lastLook { // once, not at each heartbeat
		a.log.Warn("crash reports cannot be read", "error", err)
		a.lastLook = said
	}
	for _, r := range reports {
		err := a.Event(r.Event)
		if err == nil {
			err = r.Kept()
		}
		if err != nil {
			a.log.Error("a crash report is not told, or not removed", "artifact", r.Event.Fields["artifact"], "error", err)
		}
	}
}

// vitals are the machine's, and how the agent itself fares.
func (a *Agent) vitals() map[string]any {
	v := a.cfg.Machine.Vitals()
	c, s := a.ring.Counts(), a.sender.Status()
	_, dropped := a.gather.count()
	v["ring_waiting"], v["ring_kb"] = int64(c.Waiting), c.Bytes/1024
	v["ring_dropped"], v["readings_dropped"] = int64(c.Dropped.Messages+c.Corrupt.Messages), int64(dropped)
	v["refused"], v["retries"] = int64(s.Refused), int64(s.Retries)
	v["certificate_days"] = int64(time.Until(a.id().Leaf().NotAfter) / (24 * time.Hour))
	return v
}

// Status is how an agent stands.
type Status struct {
	Device           string      `json:"device"`
	Agent            string      `json:"agent"`
	Firmware         string      `json:"firmware,omitempty"`
	Boot             uint32      `json:"boot"`
	ClockSet         bool        `json:"clock_set"`
	CertificateUntil time.Time   `json:"certificate_until"`
	RenewalDue       time.Time   `json:"renewal_due"`
	Gathered         int         `json:"gathered"`         // readings that are not yet in a message
	ReadingsDropped  uint64      `json:"readings_dropped"` // gave way in memory while the disk took nothing
	Ring             ring.Counts `json:"ring"`
	Send             send.Status `json:"send"`
}

// Status says how the agent stands.
func (a *Agent) Status() Status {
	id := a.id()
	n, dropped := a.gather.count()
	return Status{
		Device: id.Device, Agent: a.version, Firmware: a.updater.Firmware(), Boot: a.boot, ClockSet: a.clockSet(time.Now()),
		CertificateUntil: id.Leaf().NotAfter, RenewalDue: id.Due(), Gathered: n, ReadingsDropped: dropped, Ring: a.ring.Counts(), Send: a.sender.Status(),
	}
}
