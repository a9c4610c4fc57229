package roster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

var spki = make([]byte, 32)

func init() { spki[0] = 7 }

// life is a small fleet's whole log.
func life() []event.Body {
	return []event.Body{
		event.TopicDefined{Name: "muster.telemetry.v1", ID: []byte("0123456789abcdef"), Gen: 1, Partitions: 4},
		event.ProfileDefined{Profile: 1, Name: "pump", Class: 0},
		event.DeviceEnrolled{Device: "pump-1", No: 1, Cohort: "eu", Region: "de", Profile: 1, Interval: 60_000, SPKI: spki},
		event.DeviceEnrolled{Device: "pump-2", No: 2, Cohort: "eu", History: true, Class: 3},
		event.MetricAdded{Profile: 1, Metric: "temp_c", Kind: batch.Int, Scale: 2},
		event.SchemaDefined{Schema: 9, Metrics: []event.SchemaMetric{{Name: "temp_c", Kind: batch.Int, Scale: 2}, {Name: "state", Kind: batch.Text}}},
		event.MetricAdded{Profile: 1, Metric: "rssi_dbm", Kind: batch.Int},
		event.DeviceRevoked{No: 2},
	}
}

func folded(t *testing.T, records []*kgo.Record) *State {
	t.Helper()
	s := NewState()
	for _, rec := range records {
		if _, err := s.ApplyRecord(rec); err != nil {
			t.Fatalf("offset %d: %v", rec.Offset, err)
		}
	}
	return s
}

func TestTheFoldHoldsWhatTheLogSays(t *testing.T) {
	s := folded(t, (&chain{t: t}).records(100, life()...))
	want := Device{ID: "pump-1", No: 1, Cohort: "eu", Region: "de", Profile: 1, Interval: time.Minute, SPKI: [32]byte{7}, EnrolledAt: 1_795_341_850_123,
		Certificates: []Certificate{{SPKI: [32]byte{7}, Legacy: true}}}
	if got, ok := s.Device("pump-1"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("pump-1 is %+v", got)
	}
	if got, ok := s.DeviceByNo(2); !ok || !got.Revoked || !got.History || got.Class != 3 || got.ID != "pump-2" {
		t.Errorf("2 is %+v", got)
	}
	if _, ok := s.Device("pump-3"); ok {
		t.Error("pump-3 is known")
	}
	for _, no := range []uint32{0, 3, 1 << 31} {
		if _, ok := s.DeviceByNo(no); ok {
			t.Errorf("device %d is known", no)
		}
	}
	if gen, ok := s.TopicGen([16]byte([]byte("0123456789abcdef"))); !ok || gen != 1 {
		t.Errorf("generation %d, %v", gen, ok)
	}
	if schema, ok := s.Schema(9); !ok || len(schema.Metrics) != 2 || schema.Metrics[1] != (SchemaMetric{"state", batch.Text, 0}) {
		t.Errorf("schema 9 is %+v", schema)
	}
	if got := s.Counts(); got != (Counts{Devices: 2, Revoked: 1, Profiles: 1, Schemas: 1, Topics: 1}) {
		t.Errorf("%+v", got)
	}
	if s.Rev() != 107 || s.Last() != 8 || len(s.Ignored()) != 0 {
		t.Errorf("rev %d, last %d, ignored %v", s.Rev(), s.Last(), s.Ignored())
	}
}

func TestAProfileAtARevisionHasJustTheMetricsOfThatTime(t *testing.T) {
	s := folded(t, (&chain{t: t}).records(0, life()...))
	for rev, want := range map[uint64][]string{
		0: nil, 1: nil, // not yet defined
		2: {}, 4: {}, 5: {"temp_c"}, 6: {"temp_c"}, 7: {"temp_c", "rssi_dbm"}, 1000: {"temp_c", "rssi_dbm"},
	} {
		p, ok := s.ProfileAt(1, rev)
		if ok != (want != nil) {
			t.Errorf("rev %d: defined %v", rev, ok)
		}
		got := []string{}
		for _, m := range p.Metrics {
			got = append(got, m.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("rev %d: %v, want %v", rev, got, want)
		}
	}
	before, _ := s.ProfileAt(1, 5)
	if err := s.Apply(20, s.event(event.MetricAdded{Profile: 1, Metric: "heap_bytes"})); err != nil {
		t.Fatal(err)
	}
	if cap(before.Metrics) != 1 {
		t.Error("an append to what a reader holds would write into the state")
	}
	if p := s.Profiles()[0]; len(p.Metrics) != 3 || p.Metrics[2].Since != 21 || s.Rev() != 21 {
		t.Errorf("now %+v, rev %d", p, s.Rev())
	}
}

// event is the next event as the state's writer would write it.
func (s *State) event(body event.Body) event.Registry {
	n, prev := s.Link()
	return event.Registry{N: n, Prev: prev, Time: 1, Who: "test", Body: body}
}

func TestTheWritersFoldIsTheReadersFold(t *testing.T) {
	records := (&chain{t: t}).records(0, life()...)
	read, written := folded(t, records), NewState()
	for i, body := range life() {
		e := written.event(body)
		e.Time, e.Who, e.Why = 1_795_341_850_123, "test", "a test"
		if err := written.Check(body); err != nil {
			t.Fatal(err)
		}
		if err := written.Apply(int64(i), e); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(read, written) {
		t.Errorf("read    %+v\nwritten %+v", read, written)
	}
}

func TestWhatDoesNotChainIsIgnoredAndCounted(t *testing.T) {
	c := &chain{t: t}
	records := c.records(0, life()...)
	s := folded(t, records)
	n, prev := s.Link()
	forged := func(change func(*event.Registry)) *kgo.Record {
		e := event.Registry{N: n, Prev: prev, Time: 1, Who: "mallory", Body: event.DeviceEnrolled{Device: "evil", No: 3}}
		change(&e)
		return encode(t, e)
	}
	for name, rec := range map[string]*kgo.Record{
		"a second of the same number": forged(func(e *event.Registry) { e.N-- }),
		"a gap":                       forged(func(e *event.Registry) { e.N++ }),
		"another predecessor":         forged(func(e *event.Registry) { e.Prev[31] ^= 1 }),
		"the first again":             records[0],
	} {
		before := s.Ignored()[Chain]
		_, err := s.ApplyRecord(rec)
		var ignored *Ignored
		if !errors.As(err, &ignored) || ignored.Reason != Chain {
			t.Errorf("%s: %v", name, err)
		}
		if s.Ignored()[Chain] != before+1 {
			t.Errorf("%s is not counted", name)
		}
	}
	garbage := []*kgo.Record{{}, {Value: []byte("{}")}, {Value: []byte{0xdd, 2, 0xfa, 0xf0, 0x80}}, {Value: records[0].Value}}
	for _, rec := range garbage {
		if _, err := s.ApplyRecord(rec); err == nil {
			t.Errorf("%x was taken", rec.Value)
		}
	}
	if got := s.Ignored()[Decode]; got != uint64(len(garbage)) {
		t.Errorf("%d counted as undecodable", got)
	}
	if _, known := s.Device("evil"); known {
		t.Error("a forged device is known")
	}
	// The true chain goes on as if nothing had been.
	if _, err := s.ApplyRecord(c.records(50, event.DeviceEnrolled{Device: "pump-3", No: 3})[0]); err != nil {
		t.Error(err)
	}
}

func TestALinkThatSaysWhatCannotBeIsPassedOver(t *testing.T) {
	long := make([]event.SchemaMetric, 1)
	long[0] = event.SchemaMetric{Name: "other"}
	for name, tc := range map[string]struct {
		body event.Body
		want Reason
	}{
		"a number that is taken":             {event.DeviceEnrolled{Device: "pump-3", No: 1}, Number},
		"a number far off":                   {event.DeviceEnrolled{Device: "pump-3", No: 4_000_000_000}, Number},
		"a device under a second number":     {event.DeviceEnrolled{Device: "pump-1", No: 3}, Conflict},
		"a revoked device comes back":        {event.DeviceEnrolled{Device: "pump-2", No: 2}, Conflict},
		"an unknown profile":                 {event.DeviceEnrolled{Device: "pump-3", No: 3, Profile: 8}, Missing},
		"a revocation of nobody":             {event.DeviceRevoked{No: 3}, Missing},
		"a profile under another name":       {event.ProfileDefined{Profile: 1, Name: "fan"}, Conflict},
		"a profile of another class":         {event.ProfileDefined{Profile: 1, Name: "pump", Class: 1}, Conflict},
		"a name under another number":        {event.ProfileDefined{Profile: 2, Name: "pump"}, Conflict},
		"a metric of no profile":             {event.MetricAdded{Profile: 2, Metric: "x"}, Missing},
		"a metric of another kind":           {event.MetricAdded{Profile: 1, Metric: "temp_c", Kind: batch.Float}, Conflict},
		"a metric of another scale":          {event.MetricAdded{Profile: 1, Metric: "temp_c", Kind: batch.Int, Scale: 3}, Conflict},
		"a schema that changes":              {event.SchemaDefined{Schema: 9, Metrics: long}, Conflict},
		"a topic of a generation that's old": {event.TopicDefined{Name: "t", ID: make([]byte, 16), Gen: 1, Partitions: 1}, Number},
		"a topic of a generation far off":    {event.TopicDefined{Name: "t", ID: make([]byte, 16), Gen: 3, Partitions: 1}, Number},
		"a topic that changes":               {event.TopicDefined{Name: "t", ID: []byte("0123456789abcdef"), Gen: 2, Partitions: 4}, Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			c := &chain{t: t}
			s := folded(t, c.records(0, life()...))
			before := folded(t, (&chain{t: t}).records(0, life()...))
			if err := s.Check(tc.body); reasonOf(err) != tc.want || err == nil {
				t.Errorf("Check: %v", err)
			}
			if !reflect.DeepEqual(s, before) {
				t.Error("Check changed the state")
			}
			_, err := s.ApplyRecord(c.records(8, tc.body)[0])
			if err == nil || reasonOf(err) != tc.want || s.Ignored()[tc.want] != 1 {
				t.Errorf("%v, counted %v", err, s.Ignored())
			}
			if s.Counts() != before.Counts() || s.Rev() != before.Rev() {
				t.Errorf("%+v rev %d", s.Counts(), s.Rev())
			}
			if _, err := s.ApplyRecord(c.records(9, event.DeviceEnrolled{Device: "next", No: 3})[0]); err != nil {
				t.Errorf("what follows it: %v", err)
			}
		})
	}
}

func TestNamesThatBecomeIdentifiersAreHeldToTheAllowList(t *testing.T) {
	s := folded(t, (&chain{t: t}).records(0, life()...))
	for _, name := range []string{"", "x'); DROP TABLE ledger; --", "`x`", "Temp", "9x", "a-b", "tempé", string(make([]byte, 64))} {
		for _, body := range []event.Body{
			event.ProfileDefined{Profile: 2, Name: name},
			event.MetricAdded{Profile: 1, Metric: name},
			event.SchemaDefined{Schema: 10, Metrics: []event.SchemaMetric{{Name: name}}},
		} {
			if err := s.Check(body); reasonOf(err) != Name || err == nil {
				t.Errorf("%T %q: %v", body, name, err)
			}
			if err := s.Apply(20, s.event(body)); err == nil {
				t.Errorf("%T %q was taken", body, name)
			}
		}
	}
}

func TestSayingAgainWhatIsSoIsNoError(t *testing.T) {
	s := folded(t, (&chain{t: t}).records(0, life()...))
	rev := s.Rev()
	for i, body := range life() {
		if e, ok := body.(event.DeviceEnrolled); ok && e.No == 2 {
			continue // revoked meanwhile
		}
		if err := s.Apply(int64(20+i), s.event(body)); err != nil {
			t.Errorf("%T: %v", body, err)
		}
	}
	if got := s.Counts(); got != (Counts{2, 1, 1, 1, 1}) || s.Rev() != rev {
		t.Errorf("%+v, rev %d became %d", got, rev, s.Rev())
	}
}

func TestEnrollingAgainRenewsAllButTheNumber(t *testing.T) {
	s := folded(t, (&chain{t: t}).records(0, life()...))
	if err := s.Apply(20, s.event(event.DeviceEnrolled{Device: "pump-1", No: 1, Cohort: "us", Class: 2})); err != nil {
		t.Fatal(err)
	}
	want := Device{ID: "pump-1", No: 1, Cohort: "us", Class: 2, SPKI: [32]byte{7}, EnrolledAt: 1_795_341_850_123, Certificates: []Certificate{{SPKI: [32]byte{7}, Legacy: true}}}
	if got, _ := s.Device("pump-1"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestAnEventOfALaterReleaseIsALinkAndNoMore(t *testing.T) {
	c := &chain{t: t}
	s := folded(t, c.records(0, life()...))
	later := c.records(8, event.DeviceRevoked{No: 1})[0]
	// A type of the same length keeps the map's shape.
	retired := func(p []byte) []byte { return bytes.ReplaceAll(p, []byte("device-revoked"), []byte("device-retired")) }
	for i, h := range later.Headers {
		later.Headers[i].Value = retired(h.Value)
	}
	later.Value = retired(later.Value)
	c.prev = event.Chain(later.Value)
	if _, err := s.ApplyRecord(later); reasonOf(err) != Later || s.Ignored()[Later] != 1 {
		t.Errorf("%v %v", err, s.Ignored())
	}
	if d, _ := s.Device("pump-1"); d.Revoked {
		t.Error("it was understood as something else")
	}
	if _, err := s.ApplyRecord(c.records(9, event.DeviceEnrolled{Device: "next", No: 3})[0]); err != nil {
		t.Errorf("what follows it: %v", err)
	}
}

func TestRolloutsAndAcknowledgementsAreLinksThatChangeNoDevice(t *testing.T) {
	c := &chain{t: t}
	s := folded(t, c.records(0, life()...))
	before, _ := s.Device("pump-1")
	for i, body := range []event.Body{
		event.RolloutStarted{Rollout: "r", Cohort: "eu", Firmware: "2", Stages: []event.RolloutStage{{SharePPM: 1}}, Design: event.DefaultRolloutDesign()},
		event.RolloutAssigned{Rollout: "r", Stage: 1, Devices: []uint32{1}},
		event.RolloutStageStarted{Rollout: "r", Stage: 1},
		event.RolloutChanged{Rollout: "r", State: event.RolloutDone},
		event.IncidentAcknowledged{Incident: "iabcdefgh2345"},
	} {
		change, err := s.ApplyRecord(c.records(int64(20+i), body)[0])
		if err != nil || change.Device.No != 0 || change.Type != body.Type() {
			t.Errorf("%s: %+v, %v", body.Type(), change, err)
		}
	}
	if after, _ := s.Device("pump-1"); !reflect.DeepEqual(after, before) || len(s.Ignored()) != 0 {
		t.Errorf("%+v became %+v, ignored %v", before, after, s.Ignored())
	}
}

func TestAnyLogFoldsWithoutAPanicAndTheSameTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pool := life()
	for i := range 40 {
		pool = append(pool, event.DeviceEnrolled{Device: fmt.Sprintf("d-%d", i%20), No: uint32(1 + rng.IntN(20)), Cohort: "c"},
			event.DeviceRevoked{No: uint32(1 + rng.IntN(20))},
			event.MetricAdded{Profile: uint16(1 + rng.IntN(2)), Metric: fmt.Sprintf("m_%d", rng.IntN(5)), Kind: batch.Int, Scale: uint8(rng.IntN(2))})
	}
	for range 50 {
		var bodies []event.Body
		for range 200 {
			bodies = append(bodies, pool[rng.IntN(len(pool))])
		}
		records := (&chain{t: t}).records(0, bodies...)
		a, b := NewState(), NewState()
		for _, rec := range records {
			_, _ = a.ApplyRecord(rec)
			_, _ = b.ApplyRecord(rec)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatal("two folds of one log differ")
		}
		// What must hold of any log: numbers and ids are one to one.
		n := 0
		a.Devices(func(d Device) bool {
			n++
			if same, ok := a.Device(d.ID); !ok || !reflect.DeepEqual(same, d) || d.No != uint32(n) {
				t.Errorf("device %d: %+v by number, %+v by id", n, d, same)
			}
			return true
		})
		if n != a.Counts().Devices {
			t.Errorf("%d devices, counted %d", n, a.Counts().Devices)
		}
	}
}

func FuzzARecordNeverStopsTheFold(f *testing.F) {
	for _, rec := range (&chain{t: f}).records(0, life()...) {
		f.Add(string(rec.Headers[0].Value), rec.Value)
	}
	f.Fuzz(func(t *testing.T, ceType string, value []byte) {
		s := NewState()
		_, err := s.ApplyRecord(&kgo.Record{Value: value, Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte(ceType)}}})
		if counted := s.Ignored(); (err != nil) != (len(counted) == 1) {
			t.Errorf("%v, counted %v", err, counted)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	const fleet = 100_000
	c := &chain{t: b}
	bodies := make([]event.Body, fleet)
	for i := range bodies {
		bodies[i] = event.DeviceEnrolled{Device: fmt.Sprintf("device-%07d", i), No: uint32(i + 1), Cohort: fmt.Sprintf("cohort-%d", i%50), Region: "eu", SPKI: spki}
	}
	records := c.records(0, bodies...)
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := NewState()
		for _, rec := range records {
			if _, err := s.ApplyRecord(rec); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if d, ok := s.Device(identity.Device("device-0099999")); !ok || d.No != fleet {
			b.Fatal("not folded")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/fleet, "ns/event")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/fleet, "B/device")
}
