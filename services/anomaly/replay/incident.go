package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/snapshot"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/follow"
	"muster.dev/services/anomaly/judge"
)

// Case is an incident that is to be told once more.
type Case struct {
	Records  []event.Incident // as they were told, the first one first
	Settings Settings
	Start    Start
	Log      Log
	States   States
}

// Answer is what came of it.
type Answer struct {
	// Told are the records of the incident, as far as it was told again; with other settings those of the same kind and subject.
	Told []event.Incident
	// Others are the records of other incidents that were told on the way, with other settings alone.
	Others []event.Incident
	// Same says that each record came again, byte for byte.
	Same bool
	// Why says why not.
	Why string
	// Records are the log's that were read, Until the event time of the last cut.
	Until int64
}

// Again tells the incident once more, up to its last record, or to the one of a revision.
func (c *Case) Again(ctx context.Context) (Answer, error) {
	if len(c.Records) == 0 {
		return Answer{}, errors.New("an incident without a record cannot be told again")
	}
	first, last := &c.Records[0], &c.Records[len(c.Records)-1]
	var a Answer
	err := Run(ctx, c.Log, c.States, c.Settings, c.Start, func(o judge.Out) error {
		a.Until = o.At
		if o.At > last.At {
			return ErrEnough
		}
		if event.TypeOf(o.Headers) == event.TypeVerdict {
			return nil
		}
		i, err := event.DecodeIncident(o.Headers, o.Value)
		if err != nil {
			return err
		}
		switch {
		case i.ID == first.ID, c.Settings.Other && i.Kind == first.Kind && i.Subject == first.Subject:
			a.Told = append(a.Told, i)
			if !c.Settings.Other && i.Revision == last.Revision && i.ID == last.ID {
				return ErrEnough
			}
		case c.Settings.Other && i.At >= first.Since:
			a.Others = append(a.Others, i)
		}
		return nil
	})
	var differs *Differs
	if errors.As(err, &differs) {
		a.Why = differs.Error()
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.Why, err = c.compare(a.Told)
	a.Same = err == nil && a.Why == ""
	return a, err
}

// compare says what in the records is not as it was; nothing is the best answer. A record's number on the topic is not the
// judge's to say: it goes on from epoch to epoch.
func (c *Case) compare(told []event.Incident) (string, error) {
	was := c.Records
	if n := slices.IndexFunc(told, func(i event.Incident) bool { return i.Revision == was[0].Revision }); n > 0 {
		told = told[n:]
	}
	if len(told) < len(was) {
		return fmt.Sprintf("%d of its %d records came again", len(told), len(was)), nil
	}
	for n := range was {
		now, then := told[n], was[n]
		now.N = then.N
		again, _, err := now.Encode()
		if err != nil {
			return "", err
		}
		before, _, err := then.Encode()
		if err != nil {
			return "", err
		}
		if !bytes.Equal(again, before) {
			return fmt.Sprintf("record %d of %d is another one%s", n+1, len(was), differenceOf(&then, &now)), nil
		}
	}
	return "", nil
}

// differenceOf names the first field that is another one.
func differenceOf(then, now *event.Incident) string {
	fields := func(i *event.Incident) map[string]json.RawMessage {
		text, err := json.Marshal(i)
		out := map[string]json.RawMessage{}
		if err == nil {
			_ = json.Unmarshal(text, &out) // of what was marshalled a moment ago
		}
		return out
	}
	was, is := fields(then), fields(now)
	var names []string
	for name := range was {
		if !bytes.Equal(was[name], is[name]) {
			names = append(names, fmt.Sprintf("%s was %.200s and is %.200s", strings.ToLower(name), was[name], is[name]))
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, "; ")
}

// FromBroker prepares a case from a running log: from the snapshots that its detector keeps, or from the log's beginning where
// none is old enough.
func FromBroker(ctx context.Context, cfg eventlog.Config, records []event.Incident, s Settings) (*Case, error) {
	broker := NewBroker(cfg)
	c := &Case{Records: records, Settings: s, Log: broker}
	parts, snapshots, err := broker.partitions(ctx)
	if err != nil {
		return nil, err
	}
	c.Settings.Partitions = parts
	kept := &kept{cfg: cfg, places: map[string]snapshot.Place{}, refs: map[string]snapshot.Ref{}}
	c.States = kept
	evidence := positionsOf(records[0].Evidence)
	since := records[0].Since
	find := func(name string, place snapshot.Place) (follow.Taken, bool, error) {
		head, err := follow.ReadHead(ctx, cfg, place)
		if err != nil {
			return follow.Taken{}, false, fmt.Errorf("which snapshots there are of %s: %w", name, err)
		}
		t, ok := head.Before(evidence, since)
		kept.places[name], kept.refs[name] = place, t.Ref
		if !ok && len(head.Epochs) > 0 { // it began with nothing, there
			t.Next = head.Epochs[0].From
		}
		return t, ok, nil
	}
	at, found, err := find(judgeState, follow.JudgePlace(snapshots))
	if err != nil {
		return nil, err
	}
	c.Start = Start{Pages: true, Judge: JudgeStart{Snapshot: found, Registry: offsetOf(at.Next, record.TopicRegistry, 0)}}
	for part := range parts {
		name := stateName(part)
		t, ok, err := find(name, follow.ShardPlace(part, snapshots))
		if err != nil {
			return nil, err
		}
		start := ShardStart{
			Snapshot: ok, Telemetry: offsetOf(t.Next, record.TopicTelemetry, part), Events: offsetOf(t.Next, record.TopicEvents, part),
			Registry: offsetOf(t.Next, record.TopicRegistry, 0), Pages: offsetOf(at.Next, record.TopicCohorts, part),
		}
		if found && !(ok && t.Clock >= at.Clock) { // pages that the judge had judged are held against what was written, too
			if start.Pages, err = broker.pageAfter(ctx, part, t.Clock, start.Pages); err != nil {
				return nil, err
			}
		}
		c.Start.Shards = append(c.Start.Shards, start)
	}
	return c, nil
}

func positionsOf(evidence []event.Range) (out []follow.Position) {
	for _, r := range evidence {
		out = append(out, follow.Position{Place: follow.Place{Topic: r.Topic, Part: r.Part}, Offset: r.From})
	}
	return out
}

func offsetOf(all []follow.Position, topic string, part int32) int64 {
	for _, p := range all {
		if p.Topic == topic && p.Part == part {
			return p.Offset
		}
	}
	return 0
}

const judgeState = "snapshots/judge"

// kept are the states that a detector keeps beside its log.
type kept struct {
	cfg    eventlog.Config
	places map[string]snapshot.Place
	refs   map[string]snapshot.Ref
}

// maxState bounds what a state may be.
const maxState = 2 << 30

func (k *kept) State(ctx context.Context, name string) (io.ReadCloser, error) {
	var whole []byte
	err := k.places[name].Get(ctx, k.cfg, k.refs[name], func(r io.Reader) (err error) {
		whole, err = io.ReadAll(io.LimitReader(r, maxState))
		return err
	})
	return io.NopCloser(bytes.NewReader(whole)), err
}

// numbering is what is taken off the numbers of a partition's pages: where the log's beginning was eaten they begin later, and
// the judge wants them from 1 on.
type numbering struct {
	off   []uint64
	known []bool
}

// numberingOf reads it from behind a judge's state, where whoever keeps the state puts it: 16 bytes a partition.
func numberingOf(state []byte, parts int32) numbering {
	n := numbering{off: make([]uint64, parts), known: make([]bool, parts)}
	size := 16 * int(parts)
	if len(state) < size {
		return n
	}
	for i := range n.off {
		n.off[i], n.known[i] = binary.BigEndian.Uint64(state[len(state)-size+16*i:]), true
	}
	return n
}

// of gives a page's number as the judge counts.
func (n *numbering) of(part int32, no uint64) uint64 {
	if !n.known[part] {
		n.off[part], n.known[part] = no-1, true
	}
	return no - n.off[part]
}
