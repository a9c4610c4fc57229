package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/mqtt/session"
	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/door"
)

// mqtt is the MQTT side: a door of its own, and behind it one session for each connection. What a message meets there is
// what it meets over HTTPS, but that no goroutine waits for the log: see link.
type mqtt struct {
	g        *Gateway
	door     *door.Door
	settings session.Settings
	metrics  *mqttMetrics

	mu    sync.Mutex
	seats map[string]*link // guarded by mu: who speaks under a client identifier of its own
}

// openMQTT listens beside the HTTPS door.
func (g *Gateway) openMQTT(ln net.Listener, reg prometheus.Registerer) {
	l := g.cfg.MQTT
	limits := g.cfg.Limits.door()
	limits.Connections, limits.PerAddress = l.Connections, l.ConnectionsPerAddress
	q := &mqtt{g: g, door: g.door.Beside(ln, limits, "mqtt", []string{"mqtt"}), seats: map[string]*link{}}
	q.metrics = newMQTTMetrics(reg)
	q.settings = session.Settings{Limits: l.session(g.cfg), Log: g.log, Packet: q.metrics.packet, Room: room{g}}
	g.mqtt = q
}

// MQTTAddr is where devices connect by MQTT; empty if they cannot.
func (g *Gateway) MQTTAddr() string {
	if g.mqtt == nil {
		return ""
	}
	return g.mqtt.door.Addr().String()
}

// serve speaks with everybody who comes in until ctx ends. Then each connection may have its messages answered, is told
// that the gateway stops, and ends.
func (q *mqtt) serve(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var sessions sync.WaitGroup
	live := make(map[net.Conn]struct{})
	var mu sync.Mutex // guards live
	failed := make(chan error, 1)
	sessions.Go(func() {
		for {
			conn, err := q.door.Accept()
			if err != nil {
				failed <- err
				return
			}
			mu.Lock()
			live[conn] = struct{}{}
			mu.Unlock()
			sessions.Go(func() {
				l := &link{q: q, g: q.g, peer: door.PeerOf(conn)}
				why := session.Serve(ctx, conn, &q.settings, l)
				q.metrics.ended(why)
				mu.Lock()
				delete(live, conn)
				mu.Unlock()
			})
		}
	})
	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve devices by MQTT: %w", err)
	case <-ctx.Done():
	}
	q.g.draining.Store(true)
	end() // also where nobody comes in any more for another reason
	err = errors.Join(err, q.door.Close())
	// The sessions have a time for that themselves; this is for one that does not keep it.
	cut := time.AfterFunc(q.settings.Limits.Drain+2*time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		for conn := range live {
			_ = conn.Close()
		}
	})
	sessions.Wait()
	cut.Stop()
	return err
}

// room is the budget of bytes, as sessions take from it. A message for which there is none left never comes to be a call.
type room struct{ g *Gateway }

func (r room) Take(n int64) bool {
	if r.g.bytes.Take(n) {
		return true
	}
	r.g.metrics.received[noStream].Add(1)
	r.g.metrics.answered[noStream][answer.Overloaded].Add(1)
	return false
}

func (r room) Give(n int64) { r.g.bytes.Give(n) }

var _ session.Room = room{}

// assigned is what stands between a device's id and the rest of a client identifier that it was given here. No id has it.
const assigned = "~"

// clientID says whether a device may speak under this client identifier: its own id; one that it was assigned, since
// clients keep that; or none.
func clientID(id string, device identity.Device) bool {
	if id == "" || id == string(device) {
		return true
	}
	own := len(device) + len(assigned)
	return len(id) > own && id[:own] == string(device)+assigned
}

// sit makes l the one that speaks under its client identifier, and gives who did.
func (q *mqtt) sit(l *link) (before *link) {
	if l.id == "" {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	before = q.seats[l.id]
	q.seats[l.id] = l
	return before
}

func (q *mqtt) rise(l *link) {
	if l.id == "" {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seats[l.id] == l {
		delete(q.seats, l.id)
	}
}
