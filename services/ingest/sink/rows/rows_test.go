package rows

import (
	"maps"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

// names is a catalog that a test writes down.
type names struct {
	profiles map[uint16]Profile
	schemas  map[uint32][]string
}

func (n names) Profile(no uint16, rev uint64) (Profile, bool) {
	p, ok := n.profiles[no]
	return p, ok && rev > 0
}

func (n names) Schema(id uint32) ([]string, bool) {
	s, ok := n.schemas[id]
	return s, ok
}

var catalog = names{
	profiles: map[uint16]Profile{1: {Name: "env", Metrics: []Metric{
		{Name: "temperature", Kind: batch.Int, Scale: 2}, {Name: "uptime", Kind: batch.Int}, {Name: "load", Kind: batch.Float}, {Name: "door", Kind: batch.Bool}, {Name: "mode", Kind: batch.Text},
	}}},
	schemas: map[uint32][]string{9: {"temperature", "uptime"}},
}

var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func stamped(t testing.TB, d record.Device, off int64, build func(b *batch.Builder)) *kgo.Record {
	t.Helper()
	b := batch.NewBuilder()
	build(b)
	value, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Topic: record.TopicTelemetry, Key: []byte("dev-1"), Value: value, Offset: off, Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: d.Append(nil)}}}
}

func rowsOf(s *Sheet) map[string]int {
	out := map[string]int{}
	for _, b := range s.Blocks() {
		out[b.Table] = b.Rows
	}
	return out
}

func TestAValueGoesWhereItIsHeldExactly(t *testing.T) {
	ms := at.UnixMilli()
	for name, tc := range map[string]struct {
		build func(b *batch.Builder)
		rev   uint64
		want  map[string]int
	}{
		"fits":                     {func(b *batch.Builder) { b.SetScaled(ms, "temperature", 215, 1) }, 1, map[string]int{"w_env": 1, "ledger": 1}},
		"the largest that fits":    {func(b *batch.Builder) { b.SetScaled(ms, "temperature", 999_999_999, 2) }, 1, map[string]int{"w_env": 1, "ledger": 1}},
		"too large for the column": {func(b *batch.Builder) { b.SetScaled(ms, "temperature", 100_000_000, 1) }, 1, map[string]int{"s_other": 1, "ledger": 1}},
		"the least integer":        {func(b *batch.Builder) { b.SetScaled(ms, "temperature", math.MinInt64, 2) }, 1, map[string]int{"s_other": 1, "ledger": 1}},
		"finer than the column":    {func(b *batch.Builder) { b.SetScaled(ms, "temperature", 215_000, 3) }, 1, map[string]int{"s_other": 1, "ledger": 1}},
		"another kind":             {func(b *batch.Builder) { b.SetFloat(ms, "temperature", 21.5) }, 1, map[string]int{"s_other": 1, "ledger": 1}},
		"a metric of no profile":   {func(b *batch.Builder) { b.SetInt(ms, "rssi", -70) }, 1, map[string]int{"s_other": 1, "ledger": 1}},
		"before the profile":       {func(b *batch.Builder) { b.SetScaled(ms, "temperature", 215, 1) }, 0, map[string]int{"s_other": 1, "ledger": 1}},
		"some of each": {func(b *batch.Builder) {
			for i := range int64(70) { // more than one word of a bitmap
				b.SetInt(ms-i*1000, "uptime", i)
				if i%2 == 0 {
					b.SetScaled(ms-i*1000, "temperature", i*100_000_000, 1) // the first fits
				}
				b.SetBool(ms-i*1000, "door", true)
				b.SetText(ms-i*1000, "note", "x")
			}
		}, 1, map[string]int{"w_env": 70, "s_other": 34 + 70, "ledger": 1}},
		"at fault": {func(b *batch.Builder) {
			b.SetFloat(ms, "load", math.NaN())
			b.SetFloat(ms-1000, "load", 1)
			b.SetInt(ms-40*dayMS, "uptime", 1)
		}, 1, map[string]int{"w_env": 1, "quarantine": 2, "ledger": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSheet(catalog)
			s.Begin(Settings{Gen: 1, Rev: tc.rev})
			var m Message
			m.Read(stamped(t, record.Device{No: 1, Profile: 1}, 7, tc.build), catalog)
			if m.Form != Telemetry {
				t.Fatalf("%s %s", m.Reason, m.Detail)
			}
			s.Put(&m, Stored)
			if got := rowsOf(s); !maps.Equal(got, tc.want) {
				t.Errorf("rows %v, want %v", got, tc.want)
			}
			for _, b := range s.Blocks() {
				if _, err := b.Data.Segments(); err != nil {
					t.Errorf("%s: %v", b.Table, err)
				}
			}
		})
	}
}

// What is older than the record by more than a device without history may send is kept apart, whatever the profile has.
func TestReadingsThatAreOldWhenTheyComeAreKeptByYear(t *testing.T) {
	month := record.MaxSkewPast.Milliseconds()
	build := func(b *batch.Builder) {
		for _, ago := range []int64{0, dayMS, month, month + 1, 400 * dayMS, 999 * dayMS} {
			ts := at.UnixMilli() - ago
			b.SetScaled(ts, "temperature", 215, 1)
			b.SetInt(ts, "rssi", -70)
			b.SetText(ts, "mode", "x")
		}
	}
	for _, tc := range []struct {
		name    string
		history bool
		parts   map[string]int // partitions by table
		want    map[string]int
	}{
		{"with history", true, map[string]int{"w_env": 3, "s_other": 3, "s_old": 3, "ledger": 1}, map[string]int{"w_env": 3, "s_other": 3, "s_old": 9, "ledger": 1}},
		{"without", false, map[string]int{"w_env": 3, "s_other": 3, "quarantine": 1, "ledger": 1}, map[string]int{"w_env": 3, "s_other": 3, "quarantine": 9, "ledger": 1}},
	} {
		s := NewSheet(catalog)
		s.Begin(Settings{Gen: 1, Rev: 1})
		var m Message
		m.Read(stamped(t, record.Device{No: 1, Profile: 1, History: tc.history}, 7, build), catalog)
		if n := s.Touches(&m); n != 3 {
			t.Errorf("%s: touches %d days, want 3", tc.name, n)
		}
		s.Put(&m, Stored)
		if got := rowsOf(s); !maps.Equal(got, tc.want) {
			t.Errorf("%s: rows %v, want %v", tc.name, got, tc.want)
		}
		if n := s.Partitions(); n != 3 {
			t.Errorf("%s: %d days, want 3", tc.name, n)
		}
		got := map[string]int{}
		for _, b := range s.Blocks() {
			got[b.Table] = len(b.Parts)
			if _, err := b.Data.Segments(); err != nil {
				t.Errorf("%s: %v", b.Table, err)
			}
		}
		if !maps.Equal(got, tc.parts) {
			t.Errorf("%s: partitions %v, want %v", tc.name, got, tc.parts)
		}
	}
}

func TestASchemaGivesTheNames(t *testing.T) {
	build := func(b *batch.Builder) {
		b.SetSchema(9, catalog.schemas[9])
		b.SetScaled(at.UnixMilli(), "temperature", 215, 1)
	}
	var m Message
	m.Read(stamped(t, record.Device{No: 1, Profile: 1}, 0, build), catalog)
	s := NewSheet(catalog)
	s.Begin(Settings{Rev: 1})
	s.Put(&m, Stored)
	if got := rowsOf(s); got["w_env"] != 1 {
		t.Errorf("rows %v", got)
	}
	m.Read(stamped(t, record.Device{No: 1}, 0, build), names{})
	if m.Form != Unreadable || m.Reason != ReasonUnknownSchema {
		t.Errorf("a schema that was never defined: %v %s", m.Form, m.Reason)
	}
}

// The pieces of a sheet that repair it hold, together, what the sheet holds: no row twice, none left out.
func TestThePartitionsOfASheetAddUpToIt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	var records []*kgo.Record
	for off := range int64(60) {
		r := stamped(t, record.Device{No: 1, Profile: uint16(rng.IntN(2)), Class: uint8(rng.IntN(3)), History: rng.IntN(2) == 0}, off, func(b *batch.Builder) {
			used := map[int64]bool{}
			for range 1 + rng.IntN(90) {
				ts := at.UnixMilli() - rng.Int64N(35*dayMS<<rng.IntN(8))
				if used[ts] {
					continue
				}
				used[ts] = true
				for _, metric := range []string{"temperature", "uptime", "rssi"} {
					if rng.IntN(3) > 0 || len(used) == 1 {
						b.SetScaled(ts, metric, rng.Int64N(1<<40)-1<<39>>rng.IntN(40), uint8(rng.IntN(4)%3))
					}
				}
				if rng.IntN(4) == 0 {
					b.SetFloat(ts, "load", []float64{1, math.NaN()}[rng.IntN(2)])
				}
			}
		})
		r.Timestamp = at.Add(time.Duration(rng.IntN(20)) * 24 * time.Hour)
		records = append(records, r)
	}
	put := func(only *Only) *Sheet {
		s := NewSheet(catalog)
		s.Begin(Settings{Gen: 1, Rev: 1, Only: only})
		var m Message
		for _, r := range records {
			m.Read(r, catalog)
			if m.Form == Unreadable {
				t.Fatal(m.Detail)
			}
			s.Put(&m, Stored)
		}
		return s
	}
	for _, b := range put(nil).Blocks() {
		sum := 0
		for id, want := range b.Parts {
			found := false
			for _, piece := range put(&Only{Table: b.Table, Parts: map[string]bool{id: true}}).Blocks() {
				if piece.Table != b.Table {
					continue
				}
				found = true
				sum += piece.Rows
				if len(piece.Parts) != 1 || piece.Parts[id] != want {
					t.Errorf("%s: partition %s alone is %v, want %d rows", b.Table, id, piece.Parts, want)
				}
				if _, err := piece.Data.Segments(); err != nil {
					t.Errorf("%s: %v", b.Table, err)
				}
			}
			if !found {
				t.Errorf("%s: partition %s alone is nothing", b.Table, id)
			}
		}
		if sum != b.Rows {
			t.Errorf("%s: the partitions have %d rows, the sheet has %d", b.Table, sum, b.Rows)
		}
	}
}

func TestARecordThatCannotBeReadSaysWhy(t *testing.T) {
	good := stamped(t, record.Device{No: 1}, 0, func(b *batch.Builder) { b.SetInt(at.UnixMilli(), "x", 1) })
	for name, tc := range map[string]struct {
		spoil  func(r *kgo.Record)
		form   Form
		reason string
	}{
		"no stamp":        {func(r *kgo.Record) { r.Headers = nil }, Unreadable, ReasonStamp},
		"a short stamp":   {func(r *kgo.Record) { r.Headers = []kgo.RecordHeader{{Key: record.HeaderDevice, Value: []byte{1}}} }, Unreadable, ReasonStamp},
		"no value":        {func(r *kgo.Record) { r.Value = nil }, Unreadable, ReasonMalformed},
		"junk":            {func(r *kgo.Record) { r.Value = []byte{0xc1, 2, 3} }, Unreadable, ReasonMalformed},
		"a later version": {func(r *kgo.Record) { v := append([]byte{}, r.Value...); v[1] = 2; r.Value = v }, Unreadable, ReasonVersion},
		"an event":        {func(r *kgo.Record) { r.Topic = record.TopicEvents }, Unreadable, ReasonMalformed},
		"a watermark": {func(r *kgo.Record) {
			r.Headers = []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(record.TypeWatermark)}}
		}, Control, ""},
	} {
		r := *good
		tc.spoil(&r)
		var m Message
		m.Read(&r, catalog)
		if m.Form != tc.form || m.Reason != tc.reason {
			t.Errorf("%s: form %d, reason %q (%s), want %d %q", name, m.Form, m.Reason, m.Detail, tc.form, tc.reason)
		}
		if m.Keyed {
			t.Errorf("%s: has a key", name)
		}
	}
}

func TestASignOfAGatewayIsAnEventThatNoDeviceCanForge(t *testing.T) {
	r, err := (&sign.Sign{Kind: sign.KeyConflict, Time: at.UnixMilli(), Gateway: "g", Keyed: true, Boot: 7, Seq: 8}).Record("boiler-7", record.Device{No: 42})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSheet(catalog)
	s.Begin(Settings{Gen: 1})
	var m Message
	m.Read(r, catalog)
	if m.Form != Events || m.Keyed || m.Seq != record.Unkeyed || m.Device.No != 42 {
		t.Fatalf("%+v", m)
	}
	s.Put(&m, Stored)
	if n := s.events.ts.Rows(); n != 1 || s.events.ts.Values()[0] != at.UnixMilli() || s.events.number.Values()[0] != 42 {
		t.Errorf("%d events", n)
	}
	if l := s.ledger; l.off.Rows() != 1 || l.outcome.Values()[0] != int8(Stored) || l.n.Values()[0] != 1 || l.seq.Values()[0] != record.Unkeyed || l.device.Values()[0] != 42 {
		t.Error("the ledger has another row")
	}
	// The same bytes as a device's word.
	forged := *r
	forged.Headers = []kgo.RecordHeader{r.Headers[0], {Key: record.HeaderType, Value: []byte(event.TypeDevice)}}
	if m.Read(&forged, catalog); m.Form != Unreadable || m.Reason != ReasonMalformed {
		t.Errorf("forged: form %d, %s", m.Form, m.Detail)
	}
}

// A batch of 20 metrics at 5 steps, into a wide table.
func BenchmarkPut(b *testing.B) {
	wide := Profile{Name: "bench"}
	for i := range 20 {
		wide.Metrics = append(wide.Metrics, Metric{Name: "m" + string(rune('a'+i)), Kind: batch.Int, Scale: 1})
	}
	for name, profile := range map[string]uint16{"wide": 1, "other": 0} {
		b.Run(name, func(b *testing.B) {
			c := names{profiles: map[uint16]Profile{1: wide}}
			r := stamped(b, record.Device{No: 1, Profile: profile}, 0, func(b *batch.Builder) {
				for step := range int64(5) {
					for i := range wide.Metrics {
						b.SetScaled(at.UnixMilli()-step*1000, wide.Metrics[i].Name, 200+step, 1)
					}
				}
			})
			s := NewSheet(c)
			s.Begin(Settings{Rev: 1})
			var m Message
			b.ReportAllocs()
			b.SetBytes(int64(len(r.Value)))
			for i := range b.N {
				if i%4096 == 0 {
					s.Begin(Settings{Rev: 1})
				}
				m.Read(r, c)
				s.Put(&m, Stored)
			}
			if s.Samples() == 0 {
				b.Fatal("nothing was put")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/sample")
		})
	}
}
