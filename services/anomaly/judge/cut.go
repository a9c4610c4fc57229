package judge

import (
	"fmt"
	"slices"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// told is what all shards say at one cut, each part in order of partition.
type told struct {
	slots    []page.Slot
	outages  []page.Outage
	arms     []page.Arm
	ranks    []page.Rank
	findings []page.Finding
	volumes  []page.Volume
	signs    []page.Sign
}

// ack is an operator's word in the registry's log.
type ack struct {
	id, who string
	at      int64
}

// cut judges one instant, with what the registry said below an offset.
func (s *State) cut(at, upTo int64) {
	s.cuts++
	s.at = max(s.at, at)
	t := told{slots: s.slots[:0]}
	blind := false
	for i := range s.parts {
		p := &s.parts[i]
		if p.queue[0].page.Until == at {
			t.add(p.take())
		}
		blind = blind || p.dark
	}
	s.slots = t.slots
	var acks []ack
	s.registry.upTo(upTo, func(when int64, e event.Registry) {
		switch body := e.Body.(type) {
		case event.IncidentAcknowledged:
			acks = append(acks, ack{body.Incident, e.Who, when})
		case event.RolloutStarted:
			s.begin(body.Rollout, at)
		}
		s.update.Registry(when, e.Body)
	})
	s.tell(at, s.startAnew(at))
	verdicts, signals := s.detect(at, &t)
	s.tell(at, s.book.Take(at, signals))
	for _, a := range acks {
		s.tell(at, s.book.Acknowledge(a.id, a.who, a.at, at))
	}
	s.tell(at, s.book.Tick(at, blind))
	for _, v := range verdicts {
		s.verdict(at, v, signals)
	}
	clear(s.slots) // the pages may go
}

// take takes the first page of a partition as judged.
func (p *part) take() *page.Page {
	q := p.queue[0]
	p.queue[0] = queued{}
	p.queue = p.queue[1:]
	got := q.page
	if p.n == 0 {
		p.ring.add(position{until: min(got.From, got.Until-ringStep)}) // the log's start
	}
	p.n, p.until = got.N, got.Until
	was := p.now // no log goes back
	p.now = position{got.Until, max(was.page, q.offset+1), max(was.telemetry, got.Telemetry), max(was.events, got.Events), max(was.registry, got.Registry)}
	p.ring.add(p.now)
	for _, o := range got.Outages {
		if o.All {
			p.dark = o.Until == 0
		}
	}
	return got
}

func (t *told) add(p *page.Page) {
	t.slots = append(t.slots, p.Slots...)
	t.outages = append(t.outages, p.Outages...)
	t.arms = append(t.arms, p.Arms...)
	t.ranks = append(t.ranks, p.Ranks...)
	t.findings = append(t.findings, p.Findings...)
	t.volumes = append(t.volumes, p.Volumes...)
	t.signs = append(t.signs, p.Signs...)
}

// judge asks the detectors, in a fixed order.
func (s *State) judge(at int64, t *told) ([]event.Verdict, []incident.Signal) {
	var signals []incident.Signal
	// All slots of a page end at its cut, as a rule; an instant is judged once, whatever a page holds.
	for i := range t.slots {
		if t.slots[i].At != at {
			slices.SortStableFunc(t.slots, func(a, b page.Slot) int { return int(min(max(a.At-b.At, -1), 1)) })
			break
		}
	}
	for len(t.slots) > 0 && t.slots[0].At < at {
		end := t.slots[0].At
		n := slices.IndexFunc(t.slots, func(s page.Slot) bool { return s.At != end })
		if n < 0 {
			n = len(t.slots)
		}
		signals = append(signals, s.silence.Cut(end, t.slots[:n], nil)...)
		t.slots = t.slots[n:]
	}
	signals = append(signals, s.silence.Cut(at, t.slots, t.outages)...)
	verdicts, failures := s.update.Cut(at, t.arms, t.ranks)
	signals = append(signals, failures...)
	signals = append(signals, s.security.Cut(at, t.signs)...)
	s.spend.Sizes(t.slots)
	costs := s.spend.Cut(at, t.volumes)
	s.series.Explain(costs)
	signals = append(signals, s.series.Cut(at, t.findings)...)
	return verdicts, append(signals, costs...)
}

// tell numbers incidents' records.
func (s *State) tell(at int64, records []event.Incident) {
	for _, i := range records {
		i.N, i.Detector = s.n+1, s.Detector(i.Kind)
		value, headers, err := i.Encode()
		s.write(at, i.ID, value, headers, err)
	}
}

// verdict numbers what is said of a rollout. A fail names the incident that it opened.
func (s *State) verdict(at int64, v event.Verdict, signals []incident.Signal) {
	if v.Verdict == event.VerdictFail && v.Incident == "" {
		for i := range signals {
			if of := &signals[i]; of.Kind == event.UpdateFailure && of.Subject.Rollout == v.Rollout {
				v.Incident = s.book.Find(of.Kind, of.Subject)
			}
		}
	}
	v.N, v.Detector, v.Evidence = s.n+1, s.Detector(event.UpdateFailure), s.since(v.Rollout)
	v.Evidence = v.Evidence[:min(len(v.Evidence), event.MaxEvidence)]
	value, headers, err := v.Encode()
	s.write(at, v.Rollout, value, headers, err)
}

// write keeps a record for Out. What cannot be a record is counted: a detector that errs must not end the others.
func (s *State) write(at int64, key string, value []byte, headers []event.Header, err error) {
	if err != nil {
		s.faults++
		s.fault = fmt.Errorf("tell of %.80q: %w", key, err)
		return
	}
	s.n++
	s.out = append(s.out, Out{N: s.n, At: at, Key: []byte(key), Headers: headers, Value: value})
}
