package edge

import (
	"context"
	"strconv"
	"sync"
	"time"

	"muster.dev/fleet/edge/parcel"
	"muster.dev/fleet/edge/uplink"
	"muster.dev/proto/event"
)

// The edge's own events.
const (
	codeGivenUp   = "edge-given-up"  // messages that were kept were let go without being stored
	codeForbidden = "edge-forbidden" // the gateway does not let the edge speak for a device
)

// maxTroubles bounds the kinds of trouble that are told with one heartbeat.
const maxTroubles = 64

type trouble struct{ device, reason string }

// reporter tells upstream, as a device does, how the edge is. What it says goes through the ring like all else.
type reporter struct {
	edge *Edge
	boot uint32

	mu       sync.Mutex // over those below
	next     uint64
	troubles map[trouble]uplink.Refused
	untold   int // messages of troubles beyond maxTroubles
}

func (r *reporter) refused(x uplink.Refused) {
	why := "refused"
	switch {
	case x.Reason == "unanswered", x.Reason == "unreadable":
		why = x.Reason
	case x.Status == 403:
		why = "forbidden"
	}
	if x.Messages > 0 {
		r.edge.metrics.gaveUp(why, x.Messages)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := trouble{string(x.Device), x.Reason}
	before, known := r.troubles[t]
	if !known && len(r.troubles) >= maxTroubles {
		r.untold += x.Messages
		return
	}
	x.Messages += before.Messages
	r.troubles[t] = x
}

// events are what is to be told now.
func (r *reporter) events(now time.Time) []event.Device {
	m, counts, state := r.edge.metrics, r.edge.ring.Counts(), r.edge.uplink.State()
	out := []event.Device{{TS: now.UnixMilli(), Type: event.Heartbeat, Fields: map[string]any{
		"role": "edge", "devices": int64(r.edge.intake.Devices()), "devices_forbidden": int64(state.Forbidden),
		"taken": m.taken.Load(), "refused": m.turned.Load(), "stored": m.stored.Load(), "given_up": m.given.Load(),
		"waiting": int64(counts.Waiting + counts.InFlight), "store_bytes": counts.Bytes, "dropped": int64(counts.Dropped.Messages),
		"corrupt": int64(counts.Corrupt.Messages), "oldest_s": int64(age(state.Oldest, now).Seconds()), "uplink_up": state.Up,
		"certificate_days": int64(r.edge.identity.ends().Sub(now).Hours() / 24),
	}}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, x := range r.troubles {
		code := codeGivenUp
		if x.Messages == 0 {
			code = codeForbidden
		}
		detail := x.Detail
		if len(detail) > 512 {
			detail = detail[:512]
		}
		out = append(out, event.Device{TS: now.UnixMilli(), Type: event.OSError, Fields: map[string]any{
			"code": code, "device": t.device, "reason": t.reason, "status": int64(x.Status), "messages": int64(x.Messages), "detail": toText(detail),
		}})
	}
	if r.untold > 0 {
		out = append(out, event.Device{TS: now.UnixMilli(), Type: event.OSError, Fields: map[string]any{"code": codeGivenUp, "reason": "many", "messages": int64(r.untold)}})
	}
	clear(r.troubles)
	r.untold = 0
	return out
}

// toText makes what came from outside a text that an event may hold.
func toText(s string) string {
	return string([]rune(s))
}

// tell keeps a message of events.
func (r *reporter) tell(events []event.Device) error {
	r.mu.Lock()
	seq := r.next
	r.next++
	r.mu.Unlock()
	m := event.Message{Keyed: true, Boot: r.boot, Seq: seq, Events: events}
	body, err := m.AppendTo(nil)
	if err != nil {
		return err
	}
	p := parcel.Parcel{Stream: parcel.Events, Form: parcel.MsgPack, At: time.Now().UnixMilli(), Body: body}
	return r.edge.keep(p.Append(nil))
}

// run tells of the start, and then how the edge is.
func (r *reporter) run(ctx context.Context, every time.Duration) error {
	now := time.Now()
	found := r.edge.ring.Counts()
	boot := event.Device{TS: now.UnixMilli(), Type: event.Boot, Fields: map[string]any{
		"role": "edge", "run": strconv.FormatUint(uint64(r.boot), 10), "found": int64(found.Found), "torn_bytes": found.Torn, "corrupt": int64(found.Corrupt.Messages),
	}}
	if err := r.tell([]event.Device{boot}); err != nil {
		r.edge.log.Error("the start is not told", "error", err)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.tell(r.events(time.Now())); err != nil {
			r.edge.log.Error("a heartbeat is not told", "error", err)
		}
	}
}
