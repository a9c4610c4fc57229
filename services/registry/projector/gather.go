package projector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/outage"
	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/registry/audit"
)

const (
	// maxEvents and maxBytes bound what is held of the log while the warehouse is away.
	maxEvents = 10_000
	maxBytes  = 16 << 20
	// maxRows bounds a block.
	maxRows = 10_000
	// look is how many devices are read in one View: the writer waits meanwhile.
	look = 1_000
)

// view calls a function with a state that the function must not keep.
type view func(ctx context.Context, fn func(*roster.State)) error

// pending is an event whose rows are not made yet.
type pending struct {
	rec audit.Record
	e   event.Registry
}

// gathering is what was read of the log and is not in the warehouse.
type gathering struct {
	view      view
	own       *roster.State // that view shows; nil if it is the writer's
	from      positions     // what the tables hold
	link      link
	pending   []pending
	bytes     int
	revokedAt []int64 // Unix ms by device number - 1; 0 is not, or not known yet

	devices *deviceBlock
	events  *eventBlock
	reader  *audit.Reader
}

// positions are the offsets of the last rows of the tables; -1 is none.
type positions struct{ devices, events int64 }

// link follows the chain as every reader of the log does: what does not follow is ignored.
type link struct {
	started bool
	n       uint64
	sum     [32]byte
}

func (l *link) take(e event.Registry, value []byte) bool {
	if l.started && (e.N != l.n+1 || e.Prev != l.sum) {
		return false
	}
	l.started, l.n, l.sum = true, e.N, event.Chain(value)
	return true
}

func newGathering(v view, from positions) *gathering {
	g := &gathering{view: v, from: from, devices: newDeviceBlock(), events: newEventBlock(), reader: audit.NewReader()}
	if v == nil {
		g.own = roster.NewState()
		g.view = func(_ context.Context, fn func(*roster.State)) error { fn(g.own); return nil }
	}
	return g
}

// begin is the offset at which the log is to be read: of the last event that has rows in both tables, since one that changes
// many devices may have been interrupted. Before it there is nothing to do, if nothing is to be folded.
func (g *gathering) begin() int64 {
	if g.own != nil {
		return 0
	}
	return max(0, min(g.from.devices, g.from.events))
}

// add takes a record. It says whether the event changes many devices: then it must be flushed at once.
func (g *gathering) add(rec *kgo.Record) (wide bool) {
	at := audit.Record{Offset: rec.Offset, Value: rec.Value}
	headers := make([]event.Header, 0, len(rec.Headers))
	for _, h := range rec.Headers {
		headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
		if h.Key == record.HeaderType {
			at.Type = string(h.Value)
		}
	}
	if g.own != nil {
		_, _ = g.own.ApplyRecord(rec) // what is ignored the writer and the rosters report
	}
	e, err := event.DecodeRegistry(headers, rec.Value)
	if err != nil {
		return false
	}
	if rec.Offset == 0 {
		g.link = link{started: true}
	}
	if !g.link.take(e, rec.Value) {
		return false
	}
	if rec.Offset < min(g.from.devices, g.from.events) && !ends(e.Body) {
		return false // both tables have it
	}
	g.pending = append(g.pending, pending{at, e})
	g.bytes += len(rec.Value)
	return many(e.Body)
}

func (g *gathering) full() bool { return len(g.pending) >= maxEvents || g.bytes >= maxBytes }

// many says whether an event may change any number of devices.
func many(body event.Body) bool {
	switch body.(type) {
	case event.CohortDefined, event.CohortRevoked, event.CohortQuarantined, event.GroupDefined, event.GroupRemoved:
		return true
	}
	return false
}

// ends says whether devices end by an event: when they did is remembered, for their later rows.
func ends(body event.Body) bool {
	switch body.(type) {
	case event.DeviceRevoked, event.DeviceReplaced, event.CohortRevoked:
		return true
	}
	return false
}

// changed are the devices that an event changes, if they are few.
func changed(s *roster.State, body event.Body) []uint32 {
	switch b := body.(type) {
	case event.DeviceEnrolled:
		return []uint32{b.No}
	case event.DeviceRevoked:
		return []uint32{b.No}
	case event.CertificateIssued:
		return []uint32{b.No}
	case event.CertificateRevoked:
		return []uint32{b.No}
	case event.DeviceQuarantined:
		return []uint32{b.No}
	case event.DeviceMoved:
		return []uint32{b.No}
	case event.DeviceDescribed:
		return []uint32{b.No}
	case event.DeviceReplaced:
		return []uint32{b.Old, b.New}
	}
	return nil
}

// members says which devices an event changes, if they may be many.
func members(body event.Body) func(*roster.Device) bool {
	in := func(cohort string) func(*roster.Device) bool {
		return func(d *roster.Device) bool { return d.Cohort == cohort }
	}
	switch b := body.(type) {
	case event.CohortDefined:
		return in(b.Cohort)
	case event.CohortRevoked:
		return in(b.Cohort)
	case event.CohortQuarantined:
		return in(b.Cohort)
	case event.GroupDefined, event.GroupRemoved:
		return func(*roster.Device) bool { return true } // who was in it before is not kept
	}
	return nil
}

// behind is how long the writer's state may be behind the log: it has an event as soon as it is written, and a standby
// that does not follow for so long is not one to read from.
const behind = 30 * time.Second

// reached waits until the state has the last event that was read: rows of before it would be of the past.
func (g *gathering) reached(ctx context.Context) error {
	waits := outage.New(5*time.Millisecond, 250*time.Millisecond)
	for began := time.Now(); ; {
		var last uint64
		if err := g.view(ctx, func(s *roster.State) { last = s.Last() }); err != nil {
			return fmt.Errorf("look at the registry's state: %w", err)
		}
		switch {
		case last >= g.link.n:
			return nil
		case time.Since(began) > behind:
			return fmt.Errorf("the registry's state ends with event %d, the log has %d", last, g.link.n)
		case !outage.Pause(ctx, waits.Next()):
			return context.Cause(ctx)
		}
	}
}

// flush sends all rows of what is gathered.
func (g *gathering) flush(ctx context.Context, send func(context.Context, table, *rows) error) error {
	if len(g.pending) == 0 {
		return nil
	}
	if err := g.reached(ctx); err != nil {
		return err
	}
	for part := range slices.Chunk(g.pending, look) {
		if err := g.view(ctx, func(s *roster.State) { g.write(s, part) }); err != nil {
			return fmt.Errorf("look at the registry's state: %w", err)
		}
	}
	first, last := g.pending[0].rec.Offset, g.pending[len(g.pending)-1].rec.Offset
	if err := send(ctx, eventRows, &rows{g.events.Block, of(g.events.source), first, last}); err != nil {
		return err
	}
	if err := g.few(ctx, send); err != nil {
		return err
	}
	if body := g.pending[len(g.pending)-1].e.Body; many(body) {
		if err := g.wide(ctx, body, last, send); err != nil {
			return err
		}
	}
	clear(g.pending)
	g.pending, g.bytes = g.pending[:0], 0
	return nil
}

// write makes the rows of events.
func (g *gathering) write(s *roster.State, part []pending) {
	gen := generation(s)
	g.reader.Named(func(no uint32) (string, bool) {
		d, ok := s.DeviceByNo(no)
		return string(d.ID), ok
	})
	for _, p := range part {
		switch b := p.e.Body.(type) {
		case event.DeviceRevoked:
			g.end(s, b.No, p.e.Time)
		case event.DeviceReplaced:
			g.end(s, b.Old, p.e.Time)
		}
		if p.rec.Offset > g.from.events {
			g.events.add(g.reader.Entry(p.rec, p.e, true, nil), p.e.Body, gen)
		}
	}
	g.reader.Named(nil)
}

// end remembers when a device ended, the first time.
func (g *gathering) end(s *roster.State, no uint32, at int64) {
	if no == 0 || int(no) > s.Counts().Devices {
		return
	}
	if need := int(no) - len(g.revokedAt); need > 0 {
		g.revokedAt = append(g.revokedAt, make([]int64, need)...)
	}
	if g.revokedAt[no-1] == 0 {
		g.revokedAt[no-1] = at
	}
}

func (g *gathering) ended(no uint32) int64 {
	if int(no) > len(g.revokedAt) {
		return 0
	}
	return g.revokedAt[no-1]
}

// few sends the rows of devices that events name one by one.
func (g *gathering) few(ctx context.Context, send func(context.Context, table, *rows) error) error {
	at := map[uint32]int64{}
	first, last := int64(-1), int64(-1)
	if err := g.view(ctx, func(s *roster.State) {
		for _, p := range g.pending {
			if p.rec.Offset <= g.from.devices {
				continue
			}
			for _, no := range changed(s, p.e.Body) {
				if at[no] = p.rec.Offset; first < 0 {
					first = p.rec.Offset
				}
				last = p.rec.Offset
			}
		}
	}); err != nil {
		return fmt.Errorf("look at the registry's state: %w", err)
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(at)), look) {
		if err := g.view(ctx, func(s *roster.State) {
			gen := generation(s)
			for _, no := range part {
				if d, ok := s.DeviceByNo(no); ok {
					g.devices.add(s, d, g.ended(no), gen, at[no])
				}
			}
		}); err != nil {
			return fmt.Errorf("look at the registry's state: %w", err)
		}
	}
	return send(ctx, deviceRows, &rows{g.devices.Block, of(g.devices.source), first, last})
}

// wide sends the rows of all devices that an event changes, in blocks, in the order of their numbers.
func (g *gathering) wide(ctx context.Context, body event.Body, off int64, send func(context.Context, table, *rows) error) error {
	in := members(body)
	_, revoked := body.(event.CohortRevoked)
	stored := off < g.from.devices // the table has them: only their ends are to be remembered
	if stored && !revoked {
		return nil
	}
	when := g.pending[len(g.pending)-1].e.Time
	for no, more := uint32(1), true; more; {
		if err := g.view(ctx, func(s *roster.State) {
			gen := generation(s)
			for range look {
				d, ok := s.DeviceByNo(no)
				if !ok {
					more = false
					return
				}
				no++
				if !in(&d) {
					continue
				}
				if revoked && d.Revoked {
					g.end(s, d.No, when)
				}
				if !stored {
					g.devices.add(s, d, g.ended(d.No), gen, off)
				}
			}
		}); err != nil {
			return fmt.Errorf("look at the registry's state: %w", err)
		}
		if !more || g.devices.Rows() >= maxRows {
			if err := send(ctx, deviceRows, &rows{g.devices.Block, of(g.devices.source), off, off}); err != nil {
				return err
			}
		}
	}
	return nil
}

// of is the generation in a block.
func of(s source) uint16 {
	if v := s.gen.Values(); len(v) > 0 {
		return v[0]
	}
	return 0
}

// generation is that of the registry's own topic; 0 until the log has told it.
func generation(s *roster.State) (gen uint16) {
	for _, t := range s.Topics() {
		if t.Name == record.TopicRegistry {
			gen = t.Gen
		}
	}
	return gen
}
