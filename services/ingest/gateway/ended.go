package gateway

import (
	"context"
	"sync"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// ended gathers what the registry has ended and the door has not applied yet. The roster's goroutine writes to it and
// must not wait; one room of the gateway takes it.
type ended struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	devices map[identity.Device]struct{} // guarded by mu
	all     bool                         // guarded by mu: any device may be meant
}

func newEnded() *ended {
	return &ended{wake: make(chan struct{}, 1), devices: map[identity.Device]struct{}{}}
}

// note takes an event of the registry. Which connections it ends is asked of the standing, not of the event: an event that
// is taken for more than it says costs a look, no connection.
func (e *ended) note(c roster.Change) {
	all := false
	switch c.Body.(type) {
	case event.DeviceRevoked, event.DeviceReplaced, event.CertificateRevoked:
	case event.DeviceEnrolled, event.CertificateIssued:
		if c.Forgotten == (roster.Certificate{}) {
			return
		}
	case event.CohortRevoked, event.IssuerRevoked:
		all = true
	default:
		return
	}
	e.mu.Lock()
	if all {
		e.all = true
	} else {
		e.devices[c.Device.ID] = struct{}{}
	}
	e.mu.Unlock()
	e.poke()
}

func (e *ended) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// take gives what was gathered.
func (e *ended) take() (devices map[identity.Device]struct{}, all bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	devices, all = e.devices, e.all
	e.devices, e.all = map[identity.Device]struct{}{}, false
	return devices, all
}

// applyEnds ends the open connections of those whose certificates the registry has ended, as soon as it says so, until ctx
// ends. Their next requests would be refused anyway: this is for those that send nothing, and frees what they hold.
func (g *Gateway) applyEnds(ctx context.Context, e *ended) error {
	// Who came in before the roster was read has been judged by nothing.
	if err := g.roster.WaitReady(ctx); err == nil {
		g.recheckAll()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		}
		devices, all := e.take()
		if all {
			g.recheckAll()
			continue
		}
		for id := range devices {
			g.door.Recheck(id)
			if g.mqtt != nil {
				g.mqtt.door.Recheck(id)
			}
		}
	}
}

func (g *Gateway) recheckAll() {
	g.door.RecheckAll()
	if g.mqtt != nil {
		g.mqtt.door.RecheckAll()
	}
}
