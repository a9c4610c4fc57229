package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day is the time of the first event; each later one comes a minute after.
var day = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// link makes the record of one event.
func link(t testing.TB, n uint64, prev Hash, who, why string, body event.Body) Record {
	t.Helper()
	value, _, err := event.Registry{N: n, Prev: prev, Time: day.Add(time.Duration(n) * time.Minute).UnixMilli(), Who: who, Why: why, Body: body}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return Record{Offset: int64(n - 1), Type: body.Type(), Value: value}
}

// chain makes the records of events that follow each other.
func chain(t testing.TB, bodies ...event.Body) []Record {
	t.Helper()
	var out []Record
	var prev Hash
	for i, b := range bodies {
		rec := link(t, uint64(i+1), prev, "operator", fmt.Sprintf("reason %d", i+1), b)
		prev = Hash(event.Chain(rec.Value))
		out = append(out, rec)
	}
	return out
}

func enrolled(no int) event.Body {
	return event.DeviceEnrolled{Device: fmt.Sprintf("pump-%d", no), No: uint32(no), Cohort: "north"}
}

// history is a log as a registry writes it: ten devices, one of them revoked, one moved.
func history(t testing.TB) []Record {
	t.Helper()
	bodies := []event.Body{event.ProfileDefined{Profile: 1, Name: "pump"}}
	for no := 1; no <= 10; no++ {
		bodies = append(bodies, enrolled(no))
	}
	bodies = append(bodies, event.DeviceRevoked{No: 3}, event.DeviceMoved{No: 4, Cohort: "south"}, event.CohortQuarantined{Cohort: "south", On: true}, enrolled(11))
	return chain(t, bodies...)
}

// written is a log that holds the records, in transactions of three as the registry writes them.
func written(t testing.TB, records []Record) eventlog.Config {
	t.Helper()
	cfg := eventlog.Config{Brokers: logtest.Start(t, logtest.Topic{Name: record.TopicRegistry, Partitions: 1}), ClientID: "test"}
	w, err := eventlog.OpenWriter(t.Context(), cfg, "registry")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for batch := range slices.Chunk(records, 3) {
		var out []*kgo.Record
		for _, r := range batch {
			out = append(out, &kgo.Record{Topic: record.TopicRegistry, Value: r.Value,
				Headers: []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(r.Type)}}})
		}
		if err := w.Append(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// audited reads a log through a Verifier.
func audited(t testing.TB, cfg eventlog.Config, kept ...*Kept) (Report, []Record) {
	t.Helper()
	v := NewVerifier(kept...)
	var all []Record
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := ReadLog(ctx, cfg, LogReader{Hole: v.Hole, Record: func(r Record) error {
		all = append(all, r)
		_, _, _ = v.Add(r)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return v.Report("log"), all
}

func TestAWholeLogIsInOrderAndGivesItsHead(t *testing.T) {
	h := history(t)
	last := h[len(h)-1]
	r, all := audited(t, written(t, h))
	if !r.OK() || r.Events != 15 || r.Head != Hash(event.Chain(last.Value)) || len(all) != 15 {
		t.Fatalf("%s%+v", r, r)
	}
	if r.First.Event != 1 || r.First.Offset != 0 || r.Last.Event != 15 || r.Last.Offset != all[14].Offset || r.Last.Offset < 15 || !r.Last.Time.Equal(day.Add(15*time.Minute)) {
		t.Errorf("%+v %+v", r.First, r.Last)
	}
	if len(r.Holes) != 0 {
		t.Errorf("holes %v: the ends of transactions are none", r.Holes)
	}
	if s := r.String(); !strings.Contains(s, "15 events, each follows") || !strings.Contains(s, "cannot be seen from here") {
		t.Error(s)
	}
}

func TestAnEmptyLogHasNothingWrong(t *testing.T) {
	r, _ := audited(t, written(t, nil))
	if !r.OK() || r.Events != 0 || r.First != nil {
		t.Errorf("%+v", r)
	}
	_ = r.String()
}

// tampering is what somebody did to the log, and what must be said of it: kind and event, at the place in the tampered log.
type tampering struct {
	name string
	do   func(t *testing.T, h []Record) []Record
	kind Kind
	// at is the finding's place among the tampered records.
	at     int
	event  uint64
	until  uint64
	events uint64 // in the chain as it is read
}

func forged(t *testing.T, n uint64, prev Hash, body event.Body) Record {
	t.Helper()
	return link(t, n, prev, "operator", "forged", body)
}

func sum(r Record) Hash { return Hash(event.Chain(r.Value)) }

func without(h []Record, from, to int) []Record { return slices.Delete(slices.Clone(h), from, to) }
func with(h []Record, at int, r ...Record) []Record {
	return slices.Insert(slices.Clone(h), at, r...)
}

func changed(t *testing.T, h []Record, at int, n uint64, prev Hash, body event.Body) []Record {
	h = slices.Clone(h)
	h[at] = forged(t, n, prev, body)
	return h
}

var tamperings = []tampering{
	{"an event is removed", func(_ *testing.T, h []Record) []Record { return without(h, 5, 6) }, Removed, 5, 6, 0, 14},
	{"the first event is removed", func(_ *testing.T, h []Record) []Record { return without(h, 0, 1) }, Removed, 0, 1, 0, 14},
	{"the first four are removed", func(_ *testing.T, h []Record) []Record { return without(h, 0, 4) }, Removed, 0, 1, 4, 11},
	{"three in a row are removed", func(_ *testing.T, h []Record) []Record { return without(h, 5, 8) }, Removed, 5, 6, 8, 12},
	{"the last but one is removed", func(_ *testing.T, h []Record) []Record { return without(h, 13, 14) }, Removed, 13, 14, 0, 14},
	{"what an event says is changed", func(t *testing.T, h []Record) []Record {
		return changed(t, h, 11, 12, sum(h[10]), event.DeviceRevoked{No: 5})
	}, Changed, 11, 12, 0, 15},
	{"the first event is changed", func(t *testing.T, h []Record) []Record {
		return changed(t, h, 0, 1, Hash{}, event.ProfileDefined{Profile: 1, Name: "boiler"})
	}, Changed, 0, 1, 0, 15},
	{"an event's number is changed", func(t *testing.T, h []Record) []Record { return changed(t, h, 5, 99, sum(h[4]), enrolled(5)) }, Changed, 5, 6, 0, 14},
	{"an event is changed, and what it follows", func(t *testing.T, h []Record) []Record { return changed(t, h, 5, 6, Hash{1}, enrolled(5)) }, Changed, 5, 6, 0, 14},
	{"an event's bytes are no event any more", func(_ *testing.T, h []Record) []Record {
		h = slices.Clone(h)
		h[5].Value = slices.Clone(h[5].Value)
		h[5].Value[0] = 0xc1
		return h
	}, Changed, 5, 6, 0, 14},
	{"the last but one is changed", func(t *testing.T, h []Record) []Record { return changed(t, h, 13, 14, sum(h[12]), enrolled(12)) }, Changed, 13, 14, 0, 15},
	{"two neighbours change places", func(_ *testing.T, h []Record) []Record {
		h = slices.Clone(h)
		h[5], h[6] = h[6], h[5]
		return h
	}, Moved, 5, 7, 0, 15},
	{"an event is moved far behind", func(_ *testing.T, h []Record) []Record { return with(without(h, 5, 6), 12, h[5]) }, Moved, 12, 6, 0, 14},
	{"an event is moved far ahead", func(_ *testing.T, h []Record) []Record { return with(without(h, 10, 11), 4, h[10]) }, Moved, 4, 11, 0, 15},
	{"an event stands twice", func(_ *testing.T, h []Record) []Record { return with(h, 9, h[3]) }, Repeated, 9, 4, 0, 15},
	{"an event stands twice, at once", func(_ *testing.T, h []Record) []Record { return with(h, 4, h[3]) }, Repeated, 4, 4, 0, 15},
	{"the last event stands twice", func(_ *testing.T, h []Record) []Record { return with(h, 15, h[14]) }, Repeated, 15, 15, 0, 15},
	{"somebody puts in an event of his own", func(t *testing.T, h []Record) []Record {
		return with(h, 6, forged(t, 7, Hash{9}, event.DeviceRevoked{No: 1}))
	}, Foreign, 6, 7, 0, 15},
	{"somebody puts in an event that follows the last", func(t *testing.T, h []Record) []Record {
		return with(h, 6, forged(t, 7, sum(h[5]), event.DeviceRevoked{No: 1}))
	}, Foreign, 6, 7, 0, 15},
	{"somebody writes at the same time, and comes second", func(t *testing.T, h []Record) []Record {
		return with(h, 7, forged(t, 7, sum(h[5]), event.DeviceRevoked{No: 1}))
	}, Foreign, 7, 7, 0, 15},
	{"somebody puts in a number far ahead", func(t *testing.T, h []Record) []Record {
		return with(h, 6, forged(t, 1_000_000, Hash{9}, event.DeviceRevoked{No: 1}))
	}, Removed, -1, 0, 0, 0}, // judged below: it is the only one with two answers
	{"somebody puts in what is no event", func(_ *testing.T, h []Record) []Record {
		return with(h, 6, Record{Type: "text", Value: []byte("hello")})
	}, Foreign, 6, 0, 0, 15},
	{"the last record is no event", func(_ *testing.T, h []Record) []Record {
		return with(h, 15, Record{Type: "text", Value: []byte("hello")})
	}, Unreadable, 15, 0, 0, 15},
	{"an event passes for one of another type", func(_ *testing.T, h []Record) []Record {
		h = slices.Clone(h)
		h[12].Type = event.TypeDeviceRevoked // a move of pump-4 would be its end
		return h
	}, Changed, 12, 13, 0, 14},
}

func TestWhateverIsDoneToALogIsFoundAtItsPlace(t *testing.T) {
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			r, all := audited(t, written(t, c.do(t, history(t))))
			if c.at < 0 {
				if len(r.Findings) != 1 || r.Findings[0].Offset != all[6].Offset {
					t.Errorf("%s", r)
				}
				return
			}
			if len(r.Findings) != 1 {
				t.Fatalf("%d findings:\n%s", len(r.Findings), r)
			}
			f := r.Findings[0]
			if f.Kind != c.kind || f.Offset != all[c.at].Offset || f.Event != c.event || f.Until != c.until || r.Events != c.events {
				t.Errorf("want %s of event %d to %d at offset %d among %d:\n%s", c.kind, c.event, c.until, all[c.at].Offset, c.events, r)
			}
			if f.Expected == "" || f.Stands == "" || f.Do == "" {
				t.Errorf("%+v does not say what to make of it", f)
			}
		})
	}
}

func TestEveryRemovalOfOneIsFound(t *testing.T) {
	h := history(t)
	for i := range len(h) - 1 { // the last is the cut end, which no chain can tell
		v := NewVerifier()
		for _, r := range without(h, i, i+1) {
			_, _, _ = v.Add(r)
		}
		if r := v.Report("log"); len(r.Findings) != 1 || r.Findings[0].Event != uint64(i+1) || r.Findings[0].Kind != Removed {
			t.Errorf("event %d removed: %s", i+1, r)
		}
	}
}

func TestEveryByteThatIsChangedIsFound(t *testing.T) {
	h := history(t)
	for i := range len(h) - 1 {
		for at := range h[i].Value {
			bad := slices.Clone(h)
			bad[i].Value = slices.Clone(h[i].Value)
			bad[i].Value[at] ^= 1
			v := NewVerifier()
			for _, r := range bad {
				_, _, _ = v.Add(r)
			}
			r := v.Report("log")
			if r.OK() || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Event == uint64(i+1) || f.Offset == h[i].Offset }) {
				t.Fatalf("byte %d of event %d: %s", at, i+1, r)
			}
		}
	}
}

func TestACutEndIsFoundAgainstAHeadThatWasKept(t *testing.T) {
	h := history(t)
	head := func() *Kept { return &Kept{Head: sum(h[14]), Event: 15} }
	if r, _ := audited(t, written(t, h), head()); !r.OK() || r.Kept != 1 {
		t.Errorf("%s", r)
	}
	cut := written(t, h[:12])
	if r, _ := audited(t, cut); !r.OK() {
		t.Errorf("without a head: %s", r)
	}
	r, all := audited(t, cut, head())
	if len(r.Findings) != 1 || r.Findings[0].Kind != Cut || r.Findings[0].Event != 13 || r.Findings[0].Until != 15 || r.Findings[0].Offset != all[11].Offset {
		t.Errorf("%s", r)
	}
	if r, _ := audited(t, cut, &Kept{Head: sum(h[14])}); len(r.Findings) != 1 || r.Findings[0].Kind != Cut {
		t.Errorf("a head without a number: %s", r)
	}
	grown := append(slices.Clone(h), forged(t, 16, sum(h[14]), enrolled(12)))
	if r, _ := audited(t, written(t, grown), head()); !r.OK() || r.Kept != 1 {
		t.Errorf("a log that has grown: %s", r)
	}
}

func TestAHistoryThatIsWrittenAnewIsFoundAgainstAHeadThatWasKept(t *testing.T) {
	h := history(t)
	bodies := []event.Body{event.ProfileDefined{Profile: 1, Name: "pump"}}
	for no := 1; no <= 14; no++ {
		bodies = append(bodies, enrolled(no))
	}
	r, all := audited(t, written(t, chain(t, bodies...)), &Kept{Head: sum(h[11]), Event: 12})
	if len(r.Findings) != 1 || r.Findings[0].Kind != Rewritten || r.Findings[0].Event != 12 || r.Findings[0].Offset != all[11].Offset {
		t.Errorf("%s", r)
	}
}

func TestHeadsAreReadFromWhatVerifyPrinted(t *testing.T) {
	r, _ := audited(t, written(t, history(t)))
	raw, err := marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := ReadKept(strings.NewReader(string(raw) + "\n" + string(raw)))
	if err != nil || len(kept) != 2 || kept[0].Head != r.Head || kept[1].Event != 15 {
		t.Errorf("%v, %v", kept, err)
	}
	for _, bad := range []string{"", "{}", "x", `{"head":"12"}`} {
		if _, err := ReadKept(strings.NewReader(bad)); err == nil {
			t.Errorf("%q gives heads", bad)
		}
	}
}

func TestWritesThatWereGivenUpCountForNothing(t *testing.T) {
	h := history(t)
	cfg := written(t, h[:6])
	client, err := kgo.NewClient(append(cfg.Options(), kgo.TransactionalID("registry"), kgo.DefaultProduceTopic(record.TopicRegistry))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("never mind")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	client.Close()
	w, err := eventlog.OpenWriter(t.Context(), cfg, "registry")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Append(t.Context(), []*kgo.Record{{Topic: record.TopicRegistry, Value: h[6].Value, Headers: []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(h[6].Type)}}}}); err != nil {
		t.Fatal(err)
	}
	r, _ := audited(t, cfg)
	if !r.OK() || r.Events != 7 || len(r.Holes) != 1 || !r.Holes[0].Aborted || !strings.Contains(r.String(), "1 writes were given up") {
		t.Errorf("%s%+v", r, r.Holes)
	}
}

func TestManyStraysAreBounded(t *testing.T) {
	v := NewVerifier()
	h := history(t)
	_, _, _ = v.Add(h[0])
	for i := range 5 * maxFindings {
		_, _, _ = v.Add(forged(t, uint64(10_000+2*i), Hash{byte(i), byte(i >> 8)}, enrolled(1)))
	}
	if len(v.strays) > maxStrays || len(v.findings) > maxFindings {
		t.Errorf("%d strays, %d findings are held", len(v.strays), len(v.findings))
	}
	if r := v.Report("log"); r.More == 0 {
		t.Error("what is not listed is not counted")
	}
}
