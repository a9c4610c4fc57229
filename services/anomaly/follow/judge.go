package follow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/page"
)

// judgeFold is the judge as a line runs it.
type judgeFold struct {
	*judge.State
	settings judge.Settings
	parts    []pages
	heard    int64
	open     map[string]event.Incident // while it is told what was said
}

// pages is a partition's stream of pages, whose numbers the judge wants without gaps from 1 on. Where the log's beginning was
// eaten they begin later, so a part of each is taken off.
type pages struct {
	off  uint64 // what is taken off
	last uint64 // number of the last page, as the log has it; 0: none yet
	new  bool   // no page was read since the state came to be: a gap is what the log no longer holds
}

// judges are the line of the second stage.
func judges(settings judge.Settings, detector string) *kind {
	return &kind{
		stage: stageJudge, topic: record.TopicIncidents, inputs: judgeInputs, prefix: judgePrefix, number: incidentNumber, held: 2_000, detector: detector,
		begin: func(_, parts int32) (Fold, error) {
			s, err := judge.New(parts, settings)
			f := &judgeFold{State: s, settings: settings, parts: make([]pages, parts)}
			for i := range f.parts {
				f.parts[i].new = true
			}
			return f, err
		},
	}
}

// Remember keeps the incidents that are open.
func (f *judgeFold) Remember(rec *kgo.Record) error {
	headers := headersOf(rec)
	if typeOf(rec) == event.TypeVerdict {
		return nil
	}
	i, err := event.DecodeIncident(headers, rec.Value)
	if err != nil {
		return err
	}
	if f.open == nil {
		f.open = map[string]event.Incident{}
	}
	if f.open[i.ID] = i; i.State != event.IncidentOpen {
		delete(f.open, i.ID)
	}
	return nil
}

// Recall gives them to the judge: it is theirs, or nobody's.
func (f *judgeFold) Recall(after int64) {
	f.State.Recall(after, slices.Collect(maps.Values(f.open)))
	f.open = nil
}

func incidentNumber(rec *kgo.Record) (n uint64, at int64, err error) {
	headers := headersOf(rec)
	if typeOf(rec) == event.TypeVerdict {
		v, err := event.DecodeVerdict(headers, rec.Value)
		return v.N, v.At, err
	}
	i, err := event.DecodeIncident(headers, rec.Value)
	return i.N, i.At, err
}

func (f *judgeFold) Take(rec *kgo.Record) error {
	if rec.Topic == record.TopicRegistry {
		f.Registry(registryRecord(rec))
		return nil
	}
	p, err := page.Decode(headersOf(rec), rec.Value)
	if err != nil {
		return err
	}
	if p.Part != rec.Partition {
		return fmt.Errorf("a page of partition %d", p.Part)
	}
	at := &f.parts[p.Part]
	if at.new && p.N > at.last+1 {
		at.off += p.N - at.last - 1
	}
	at.new, at.last = false, p.N
	p.N -= at.off
	f.heard = max(f.heard, p.Until)
	return f.Page(p, rec.Offset)
}

// Reached tells of the registry's log alone: pages are numbered.
func (f *judgeFold) Reached(in Place, next int64) {
	if in == registryLog {
		f.Known(next)
	}
}

func (f *judgeFold) Said() ([]Output, error) {
	var out []Output
	for _, o := range f.Out() {
		out = append(out, Output{N: o.N, At: o.At, Record: func(n uint64) (*kgo.Record, error) {
			value, headers, err := o.Value, o.Headers, error(nil)
			if n != o.N {
				value, headers, err = renumber(o, n)
			}
			return &kgo.Record{Key: o.Key, Value: value, Headers: toKafka(headers)}, err
		}})
	}
	return out, nil
}

// renumber gives a record the number that the log has for it, where that is not the judge's own.
func renumber(o judge.Out, n uint64) (value []byte, headers []event.Header, err error) {
	if v, err := event.DecodeVerdict(o.Headers, o.Value); err == nil {
		v.N = n
		return v.Encode()
	}
	i, err := event.DecodeIncident(o.Headers, o.Value)
	if err != nil {
		return nil, nil, fmt.Errorf("number an incident: %w", err)
	}
	i.N = n
	return i.Encode()
}

func (f *judgeFold) Next(in Place) int64 {
	at, registry := f.Position()
	if in == registryLog {
		return registry
	}
	return at[in.Part]
}

func (f *judgeFold) Heard() int64 { return f.heard }
func (f *judgeFold) Clock() int64 { return f.At() }
func (f *judgeFold) Asks() bool   { return false }
func (f *judgeFold) Expect(int64) {}
func (f *judgeFold) Answer(int64) {}

// Adopt makes the settings those of now.
func (f *judgeFold) Adopt() error { return f.State.Adopt(f.settings) }

// Snapshot writes the judge, and behind it what is taken off the numbers: who knows nothing of that reads the judge alone.
func (f *judgeFold) Snapshot(w io.Writer) error {
	if err := f.State.Snapshot(w); err != nil {
		return err
	}
	var tail []byte
	for i, p := range f.parts {
		judged := p.last - min(p.last, uint64(f.Waiting(int32(i)))) // those that wait are read again
		tail = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(tail, p.off), judged)
	}
	_, err := w.Write(tail)
	return err
}

// maxJudge bounds the state of a judge.
const maxJudge = 1 << 30

// Restore reads a state with the settings that it has.
func (f *judgeFold) Restore(r io.Reader) error {
	whole, err := io.ReadAll(io.LimitReader(r, maxJudge))
	if err != nil {
		return err
	}
	size := 16 * len(f.parts)
	if len(whole) < size {
		return fmt.Errorf("a judge of %d bytes", len(whole))
	}
	tail := whole[len(whole)-size:]
	s, err := judge.Open(bytes.NewReader(whole[:len(whole)-size]))
	if err != nil {
		return err
	}
	if at, _ := s.Position(); len(at) != len(f.parts) {
		return fmt.Errorf("a judge of %d partitions, there are %d", len(at), len(f.parts))
	}
	f.State = s
	for i := range f.parts {
		at := tail[16*i:]
		f.parts[i] = pages{off: binary.BigEndian.Uint64(at), last: binary.BigEndian.Uint64(at[8:]), new: true}
	}
	return nil
}
