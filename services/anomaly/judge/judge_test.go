package judge

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

const (
	parts = 3
	start = int64(1_790_000_100_000)
	step  = int64(60_000)
)

// history is what a judge reads: pages by partition, each at an offset, and the registry's log.
type history struct {
	pages    [parts][]queued
	registry []census.Record
	prev     [32]byte
}

func (h *history) add(p *page.Page) {
	of := &h.pages[p.Part]
	p.N = uint64(len(*of) + 1)
	p.Registry = int64(2 * len(h.registry)) // each record is followed by its transaction's end
	if len(*of) > 0 {
		last := (*of)[len(*of)-1].page
		p.From, p.Telemetry, p.Events = last.Until, last.Telemetry, last.Events
	}
	p.Telemetry += 100 + int64(p.Part)
	p.Events += 7
	*of = append(*of, queued{p, int64(2 * len(*of))})
}

func (h *history) say(t testing.TB, at int64, who string, body event.Body) {
	t.Helper()
	value, headers, err := event.Registry{N: uint64(len(h.registry) + 1), Prev: h.prev, Time: at, Who: who, Why: "because", Body: body}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.prev = event.Chain(value)
	h.registry = append(h.registry, census.Record{Offset: int64(2 * len(h.registry)), Time: at, Headers: headers, Value: value})
}

// reader gives a judge a history, from a position, one head after the other as it is told.
type reader struct {
	h        *history
	next     [parts]int
	registry int
}

func readFrom(h *history, s *State) *reader {
	r := &reader{h: h}
	pages, registry := s.Position()
	for p, offset := range pages {
		r.next[p], _ = slices.BinarySearchFunc(h.pages[p], offset, func(q queued, o int64) int { return int(q.offset - o) })
	}
	r.registry, _ = slices.BinarySearchFunc(h.registry, registry, func(c census.Record, o int64) int { return int(c.Offset - o) })
	return r
}

// give gives the next of a source: a partition's pages, or beyond them the registry. It says whether there was one.
func (r *reader) give(t testing.TB, s *State, source int) bool {
	t.Helper()
	if source == parts {
		if r.registry == len(r.h.registry) {
			s.Known(int64(2 * r.registry))
			return false
		}
		s.Registry(r.h.registry[r.registry])
		r.registry++
		return true
	}
	if r.next[source] == len(r.h.pages[source]) {
		return false
	}
	q := r.h.pages[source][r.next[source]]
	r.next[source]++
	if err := s.Page(q.page, q.offset); err != nil {
		t.Fatal(err)
	}
	return true
}

func (r *reader) all(t testing.TB, s *State) []Out {
	t.Helper()
	var out []Out
	for more := true; more; {
		more = false
		for source := range parts + 1 {
			more = r.give(t, s, source) || more
		}
		out = append(out, s.Out()...)
	}
	return append(out, s.Out()...)
}

func fresh(t testing.TB) *State {
	t.Helper()
	s, err := New(parts, DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	s.detect = bySigns
	return s
}

// bySigns makes a silence of each sign: enough to see in which order a judge was told what.
func bySigns(at int64, t *told) ([]event.Verdict, []incident.Signal) {
	var signals []incident.Signal
	var verdicts []event.Verdict
	for _, sign := range t.signs {
		s := incident.Signal{
			Kind: event.SilentCohort, Cause: incident.CausePower, Subject: event.Subject{Cohort: sign.Cohort}, Since: sign.At - 2*step, At: at, Period: step,
			Over: sign.Count == 0, Count: uint32(sign.Count), Why: sign.Detail,
		}
		if sign.Kind == "rollout" {
			s.Kind, s.Cause, s.Subject = event.UpdateFailure, incident.CauseFailures, event.Subject{Rollout: sign.Cohort}
			verdicts = append(verdicts, event.Verdict{
				Rollout: sign.Cohort, Stage: 1, Verdict: event.VerdictFail, At: at, Final: true, Design: event.DefaultRolloutDesign(), Why: "too many",
			})
		}
		signals = append(signals, s)
	}
	return verdicts, signals
}

// random is a history of so many minutes.
func random(t testing.TB, seed uint64, cuts int) *history {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := &history{}
	for i := range cuts {
		at := start + int64(i)*step
		switch {
		case i == 5:
			h.say(t, at, "ada", event.RolloutStarted{
				Rollout: "r-1", Cohort: "boilers", Firmware: "2", From: "1", Stages: []event.RolloutStage{{SharePPM: 100_000}}, Design: event.DefaultRolloutDesign(),
			})
		case i%10 == 9:
			h.say(t, at, "ada", event.IncidentAcknowledged{Incident: incident.ID(event.SilentCohort, event.Subject{Cohort: "cohort-1"}, start-2*step)})
		}
		for p := range int32(parts) {
			if p > 0 && rng.IntN(4) == 0 {
				continue // a shard that had nothing to cut here
			}
			pg := &page.Page{Part: p, Until: at}
			for c := range 4 {
				if rng.IntN(3) > 0 {
					pg.Signs = append(pg.Signs, page.Sign{Kind: "silence", Cohort: fmt.Sprintf("cohort-%d", c), At: at, Count: uint64(rng.IntN(3) * 10), Detail: fmt.Sprintf("partition %d", p)})
				}
			}
			if i == 40 && p == 1 {
				pg.Signs = append(pg.Signs, page.Sign{Kind: "rollout", Cohort: "r-1", At: at, Count: 9})
			}
			if i%30 == 20 {
				pg.Outages = append(pg.Outages, page.Outage{All: true, From: at - step})
			}
			if i%30 == 25 {
				pg.Outages = append(pg.Outages, page.Outage{All: true, From: at - 6*step, Until: at})
			}
			h.add(pg)
		}
	}
	for p := range int32(parts) { // the last cut has all
		h.add(&page.Page{Part: p, Until: start + int64(cuts)*step})
	}
	return h
}

func TestTheRecordsAreTheSameWhateverCameFirst(t *testing.T) {
	h := random(t, 1, 200)
	one := fresh(t)
	want := readFrom(h, one).all(t, one)
	if len(want) < 100 {
		t.Fatalf("only %d records", len(want))
	}
	for i, o := range want {
		if o.N != uint64(i+1) || i > 0 && o.At < want[i-1].At {
			t.Fatalf("record %d has number %d", i, o.N)
		}
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := fresh(t)
		r := readFrom(h, s)
		var got []Out
		for idle := 0; idle < 100; {
			source, idling := rng.IntN(parts+1), true
			for range rng.IntN(40) { // a poll brings many of one partition
				if !r.give(t, s, source) {
					break
				}
				idling = false
			}
			got = append(got, s.Out()...)
			if idle++; !idling {
				idle = 0
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %d records, want %d", seed, len(got), len(want))
		}
		if s.Waiting(0) != 0 || s.Cuts() != one.Cuts() || s.Last() != want[len(want)-1].N || s.At() != one.At() {
			t.Errorf("seed %d: %d pages wait", seed, s.Waiting(0))
		}
	}
}

func TestAJudgeRestoredAtAnyCutGoesOnTheSame(t *testing.T) {
	h := random(t, 3, 120)
	whole := fresh(t)
	want := readFrom(h, whole).all(t, whole)
	var last bytes.Buffer
	if err := whole.Snapshot(&last); err != nil {
		t.Fatal(err)
	}
	s := fresh(t)
	r := readFrom(h, s)
	var head []Out
	for i := 0; ; i++ {
		source := i % (parts + 1)
		more := r.give(t, s, source)
		head = append(head, s.Out()...)
		if !more && s.At() == whole.At() {
			break
		}
		if i%7 != 0 {
			continue
		}
		var one, two bytes.Buffer
		if err := s.Snapshot(&one); err != nil {
			t.Fatal(err)
		}
		back, err := Open(bytes.NewReader(one.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		back.detect = bySigns
		if err := back.Snapshot(&two); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Fatalf("after %d: what was restored is another, %v", i, err)
		}
		if got := append(slices.Clone(head), readFrom(h, back).all(t, back)...); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %d: another story", i)
		}
		two.Reset()
		if err := back.Snapshot(&two); err != nil || !bytes.Equal(last.Bytes(), two.Bytes()) {
			t.Fatalf("after %d: another state at the end, %v", i, err)
		}
	}
}

func TestEvidenceHoldsWhatWasSaidAndAVerdictNamesItsIncident(t *testing.T) {
	h := random(t, 1, 60)
	s := fresh(t)
	incidents, verdicts := map[string]event.Incident{}, 0
	for _, o := range readFrom(h, s).all(t, s) {
		if event.TypeOf(o.Headers) == event.TypeVerdict {
			verdicts++
			v, err := event.DecodeVerdict(o.Headers, o.Value)
			if err != nil || string(o.Key) != v.Rollout || v.N != o.N {
				t.Fatalf("%+v, %v", v, err)
			}
			if i := incidents[v.Incident]; i.Kind != event.UpdateFailure || i.Subject.Rollout != v.Rollout {
				t.Errorf("the verdict names incident %q", v.Incident)
			}
			if !strings.HasPrefix(v.Detector, fmt.Sprintf("update-%d-", version)) || len(v.Evidence) != 3*parts+1 {
				t.Errorf("%+v", v)
			}
			continue
		}
		i, err := event.DecodeIncident(o.Headers, o.Value)
		if err != nil || string(o.Key) != i.ID || i.N != o.N || i.At != o.At {
			t.Fatalf("%+v, %v", i, err)
		}
		for _, r := range i.Evidence {
			before := func(at int64) (from page.Page) { // the shard's last page before an instant
				for _, q := range h.pages[r.Part] {
					if q.page.Until <= at {
						from = *q.page
					}
				}
				return from
			}
			if r.Topic == "muster.telemetry.v1" && (r.From > before(i.Since-step).Telemetry || r.To < before(i.At).Telemetry) {
				t.Errorf("evidence of partition %d is %d to %d; told from %d to %d", r.Part, r.From, r.To, before(i.Since-step).Telemetry, before(i.At).Telemetry)
			}
		}
		if was, ok := incidents[i.ID]; ok {
			for _, r := range i.Evidence {
				for _, w := range was.Evidence {
					if w.Topic == r.Topic && w.Part == r.Part && (w.From != r.From || w.To > r.To) {
						t.Errorf("evidence is no longer pinned: %v, %v", w, r)
					}
				}
			}
		}
		incidents[i.ID] = i
	}
	if verdicts != 1 || len(incidents) < 4 {
		t.Errorf("%d verdicts, %d incidents", verdicts, len(incidents))
	}
	acked := 0
	for _, i := range incidents {
		if i.Acked.Who == "ada" {
			acked++
		}
	}
	if acked != 1 {
		t.Errorf("%d are acknowledged", acked)
	}
}

func TestWhatIsNoStreamOfPagesIsRefused(t *testing.T) {
	good := func(n uint64, until int64) *page.Page { return &page.Page{Part: 1, N: n, Until: until} }
	s := fresh(t)
	for _, p := range []*page.Page{good(1, start), good(2, start+step), good(1, start), good(2, start+step)} {
		if err := s.Page(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	for want, p := range map[string]*page.Page{
		"page 4 follows page 2": good(4, start+2*step), "the one before it at": good(3, start+step), "there are 3": {Part: 3, N: 1}, "-1": {Part: -1, N: 1},
	} {
		if err := s.Page(p, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if s.Waiting(1) != 2 || s.Wants() != 0 {
		t.Errorf("%d wait, %d is wanted", s.Waiting(1), s.Wants())
	}
	if _, err := New(0, DefaultSettings()); err == nil {
		t.Error("of no partitions")
	}
}

func TestACutWaitsForTheRegistryAndBreaksInItsChainAreIgnored(t *testing.T) {
	h := &history{}
	h.say(t, start, "ada", event.RolloutStarted{Rollout: "r-1", Cohort: "c", Firmware: "2", Stages: []event.RolloutStage{{SharePPM: 1}}, Design: event.DefaultRolloutDesign()})
	for p := range int32(parts) {
		h.add(&page.Page{Part: p, Until: start})
	}
	s := fresh(t)
	r := readFrom(h, s)
	for p := range parts {
		r.give(t, s, p)
	}
	if s.Cuts() != 0 || s.Wants() != 2 {
		t.Fatalf("%d cuts, %d wanted", s.Cuts(), s.Wants())
	}
	forged := h.registry[0]
	forged.Offset, forged.Value = 1, []byte("no event")
	s.Registry(h.registry[0])
	if s.Cuts() != 0 {
		t.Fatal("offset 1 may be a record")
	}
	s.Registry(forged)
	if s.Cuts() != 1 || s.registry.ignored != 1 || s.registry.n != 1 || len(s.pins) != 1 {
		t.Errorf("%d cuts, %d ignored, %d links", s.Cuts(), s.registry.ignored, s.registry.n)
	}
	s.Registry(h.registry[0]) // again
	if len(s.registry.queue) != 0 {
		t.Error("it was given before")
	}
}

func TestOtherSettingsAreAdoptedAndNotMistaken(t *testing.T) {
	h := random(t, 1, 50)
	s := fresh(t)
	readFrom(h, s).all(t, s)
	if s.Open(event.SilentCohort) == 0 {
		t.Fatal("nothing is open")
	}
	var was bytes.Buffer
	if err := s.Snapshot(&was); err != nil {
		t.Fatal(err)
	}
	other := DefaultSettings()
	other.Silence.False *= 2
	other.Incident.Runbooks = "https://runbooks.example/"
	o, err := New(parts, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Restore(bytes.NewReader(was.Bytes())); !errors.Is(err, ErrSettings) {
		t.Fatalf("%v", err)
	}
	back, err := Open(bytes.NewReader(was.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	id := back.Detector(event.SilentCohort)
	if err := back.Adopt(other); err != nil {
		t.Fatal(err)
	}
	if now := back.Detector(event.SilentCohort); now == id || now != o.Detector(event.SilentCohort) {
		t.Errorf("the detector's id was %s and is %s", id, now)
	}
	back.detect = bySigns
	open := back.Open(event.SilentCohort)
	for p := range int32(parts) {
		h.add(&page.Page{Part: p, Until: start + 100*step})
	}
	out := readFrom(h, back).all(t, back)
	if len(out) != open || back.Open(event.SilentCohort) != 0 {
		t.Fatalf("%d records, %d were open", len(out), open)
	}
	if i, err := event.DecodeIncident(out[0].Headers, out[0].Value); err != nil || !strings.HasPrefix(i.Runbook, "https://runbooks.example/") || !strings.Contains(i.Why, "settings") {
		t.Errorf("%+v, %v", i, err)
	}
	same, err := New(parts, DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	if err := same.Restore(bytes.NewReader(was.Bytes())); err != nil {
		t.Error(err)
	}
	bad := other
	bad.Incident.Quiet = 0
	if err := same.Adopt(bad); err == nil {
		t.Error("settings that cannot be")
	}
}

// What is in no JSON is in no hash and in no snapshot.
func TestAllSettingsAreInTheHash(t *testing.T) {
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() || f.Tag.Get("json") == "-" || f.Type.Kind() == reflect.Func || f.Type.Kind() == reflect.Interface {
				t.Errorf("%s.%s would not be kept", at, f.Name)
			}
			walk(at+"."+f.Name, f.Type)
		}
	}
	walk("Settings", reflect.TypeFor[Settings]())
}

func TestADetectorThatErrsDoesNotEndTheOthers(t *testing.T) {
	s := fresh(t)
	s.detect = func(at int64, _ *told) ([]event.Verdict, []incident.Signal) {
		return []event.Verdict{{Rollout: "No Name", Verdict: "perhaps"}}, []incident.Signal{{Kind: event.Security, Cause: incident.CauseClone, Subject: event.Subject{Device: "pump-1"}, At: at}}
	}
	for p := range int32(parts) {
		if err := s.Page(&page.Page{Part: p, N: 1, Until: start}, 0); err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.Faults()
	if out := s.Out(); len(out) != 1 || n != 1 || err == nil || out[0].N != 1 {
		t.Errorf("%d records, %d faults, %v", len(out), n, err)
	}
}

func FuzzAJudgeIsReadOrRefused(f *testing.F) {
	s, err := New(1, DefaultSettings())
	if err != nil {
		f.Fatal(err)
	}
	s.detect = bySigns
	if err := s.Page(&page.Page{N: 1, Until: start, Signs: []page.Sign{{Cohort: "boilers", At: start, Count: 3}}}, 0); err != nil || len(s.Out()) != 1 {
		f.Fatal(err)
	}
	var was bytes.Buffer
	if err := s.Snapshot(&was); err != nil {
		f.Fatal(err)
	}
	f.Add(was.Bytes())
	f.Add(was.Bytes()[:200])
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := Open(bytes.NewReader(p))
		if err != nil || len(s.parts) > 100 {
			return
		}
		for i := range s.parts {
			if err := s.Page(&page.Page{Part: int32(i), N: s.parts[i].n + 1, Until: s.parts[i].until + step, Registry: s.Wants()}, 1<<40); err != nil {
				return
			}
		}
		s.Out()
	})
}
