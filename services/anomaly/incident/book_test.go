package incident

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
)

const (
	slot  = 300_000
	start = int64(1_790_000_100_000) // a whole number of slots
)

// silent is what the detector of silence says of n of a cohort's devices.
func silent(cohort string, at int64, n int) Signal {
	s := Signal{
		Kind: event.SilentCohort, Cause: CausePower, Subject: event.Subject{Cohort: cohort, Region: "eu"}, Since: start - 2*slot, At: at, Period: slot,
		Count: uint32(n), Why: "the share of silent devices is far above its baseline",
		Numbers: []event.Number{{Name: "share", Micro: 300_000}, {Name: "expected", Micro: 50e6, Unit: "devices"}},
	}
	for i := range n {
		s.Devices = append(s.Devices, event.Member{ID: fmt.Sprintf("%s-%03d", cohort, i), No: uint32(i + 1), Since: start - 2*slot + int64(i%7)})
	}
	return s
}

func over(s Signal) Signal {
	s.Over, s.Devices, s.Count, s.Why = true, nil, 0, ""
	return s
}

// cut is one instant of a book's life, as the judge makes it. Each record must be one that the log takes.
func cut(t testing.TB, b *Book, at int64, signals ...Signal) []event.Incident {
	t.Helper()
	records := append(b.Take(at, signals), b.Tick(at, false)...)
	check(t, records)
	return records
}

func check(t testing.TB, records []event.Incident) {
	t.Helper()
	for _, r := range records {
		r.N, r.Detector = 1, "silence-1-00000000"
		value, headers, err := r.Encode()
		if err != nil {
			t.Fatalf("%s: %v", r.Title, err)
		}
		back, err := event.DecodeIncident(headers, value)
		if err != nil || !reflect.DeepEqual(back.Devices, r.Devices) {
			t.Fatalf("%s: %v", r.Title, err)
		}
	}
}

func offsets(from, to int64) []event.Range {
	return []event.Range{{Topic: "muster.telemetry.v1", Part: 0, From: max(from-start, 0), To: max(to-start, 0) + 10_000_000}}
}

func TestAnIncidentOpensOnceIsUpdatedInStepsAndResolved(t *testing.T) {
	b := NewBook(DefaultSettings(), offsets)
	at := start
	opened := cut(t, b, at, silent("boilers", at, 15))
	if len(opened) != 1 || opened[0].Type() != event.TypeIncidentOpened || opened[0].Count != 15 || len(opened[0].Devices) != 15 ||
		opened[0].Severity != event.SeverityCritical || opened[0].Runbook != "docs/runbooks/silent-cohort.md" || opened[0].Since != start-2*slot || opened[0].At != at {
		t.Fatalf("%+v", opened)
	}
	if want := "cohort boilers in region eu: 15 of 50 devices are silent since 2026-09-21 14:05 UTC, likely cause: power"; opened[0].Title != want {
		t.Errorf("title %q, want %q", opened[0].Title, want)
	}
	id := opened[0].ID
	if id != ID(event.SilentCohort, event.Subject{Cohort: "boilers", Region: "eu"}, start-2*slot) || !event.IncidentID(id) {
		t.Errorf("id %q", id)
	}
	// One device more is nothing that a reader acts on; a fifth more is, but not twice in a period.
	at += slot
	if got := cut(t, b, at, silent("boilers", at, 16)); len(got) != 0 {
		t.Errorf("one more of fifteen: %+v", got)
	}
	at += slot
	updated := cut(t, b, at, silent("boilers", at, 20))
	if len(updated) != 1 || updated[0].Type() != event.TypeIncidentUpdated || updated[0].ID != id || updated[0].Revision != 2 || updated[0].Count != 20 {
		t.Fatalf("%+v", updated)
	}
	if got := cut(t, b, at+slot/4, silent("boilers", at+slot/4, 40)); len(got) != 0 {
		t.Errorf("twice in a period: %+v", got)
	}
	// Five quiet periods are no end, the sixth is; it was over when it was quiet first.
	at += slot
	first := at
	for range 5 {
		if got := cut(t, b, at, over(silent("boilers", at, 0))); len(got) != 0 {
			t.Fatalf("%+v", got)
		}
		at += slot
	}
	resolved := cut(t, b, at, over(silent("boilers", at, 0)))
	if len(resolved) != 1 || resolved[0].Type() != event.TypeIncidentResolved || resolved[0].ResolvedAt != first || resolved[0].At != at || b.Open() != 0 ||
		resolved[0].Why != "nothing of it was seen for 6 periods" || number(resolved[0].Numbers, worstName) != 40 ||
		resolved[0].Title != "cohort boilers in region eu: up to 40 of 50 devices were silent at once, from 2026-09-21 14:05 UTC to 2026-09-21 14:30 UTC, likely cause: power" {
		t.Fatalf("%+v", resolved)
	}
	// Within twelve periods it is the same one; the thirteenth brings another.
	again := cut(t, b, at+12*slot, silent("boilers", at+12*slot, 15))
	if len(again) != 1 || again[0].ID != id || again[0].Reopened != 1 || again[0].State != event.IncidentOpen || again[0].ResolvedAt != 0 || again[0].Revision != 4 {
		t.Fatalf("%+v", again)
	}
	for at += 13 * slot; b.Open() > 0; at += slot {
		cut(t, b, at, over(silent("boilers", at, 0)))
	}
	at += 13 * slot
	next := cut(t, b, at, silent("boilers", at, 15)) // since the same instant: chronic
	if len(next) != 1 || next[0].ID == id || next[0].Revision != 1 || next[0].Since <= start {
		t.Fatalf("%+v", next)
	}
}

// An event of 8 times 6 slots silent and 6 slots heard is one incident; closing at the first quiet slot it was 8 and
// more (18.0 measured where readings are lost in bursts).
func TestAFlappingCauseIsOneIncident(t *testing.T) {
	run := func(quiet int64) (opened, records int) {
		s := DefaultSettings()
		s.Quiet = quiet
		if quiet == 1 {
			s.Again = 1
		}
		b := NewBook(s, nil)
		rng := rand.New(rand.NewPCG(1, 2))
		at := start
		for cycle := range 8 {
			for k := range 12 {
				signal := silent("boilers", at, 15+rng.IntN(3))
				if k >= 6 || rng.IntN(4) == 0 && k > 0 { // bursts: some slots of the silence look heard
					signal = over(signal)
				}
				for _, r := range cut(t, b, at, signal) {
					records++
					if r.Revision == 1 {
						opened++
					}
				}
				at += slot
			}
			_ = cycle
		}
		return opened, records
	}
	if opened, records := run(6); opened != 1 || records > 20 {
		t.Errorf("%d incidents in %d records, want 1", opened, records)
	}
	if opened, _ := run(1); opened < 8 {
		t.Errorf("without damping it was %d incidents: the test shows nothing", opened)
	}
}

func TestSeverityOnlyRisesAndACauseChangesWhenItIsSaidTwice(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	signal := func(at int64, cause, severity string) Signal {
		s := silent("boilers", at, 15)
		s.Cause, s.Severity = cause, severity
		return s
	}
	at := start
	if got := cut(t, b, at, signal(at, CauseUnknown, "")); got[0].Severity != event.SeverityWarning {
		t.Fatalf("%+v", got)
	}
	for _, step := range []struct {
		cause, severity string
		records         int
		now             string
	}{
		{CauseRadio, "", 0, ""},           // one odd slot
		{CauseUnknown, "", 0, ""},         // it was one
		{CauseRadio, "", 0, ""},           // now it comes
		{CauseRadio, "", 1, "warning"},    // to stay
		{CausePower, "", 1, "critical"},   // the severity at once
		{CausePower, "", 1, "critical"},   // the cause when said twice
		{CausePower, "info", 0, ""},       // nobody is told that it was nothing
		{CausePower, "nonsense", 0, ""},   // no severity: the cause's own
		{"no cause at all!", "", 0, ""},   // unknown, once
		{CausePower, "critical", 0, ""},   // and back
		{CausePower, "critical", 0, ""},   // nothing new
		{CauseUnknown, "critical", 0, ""}, // once
	} {
		at += slot
		got := cut(t, b, at, signal(at, step.cause, step.severity))
		if len(got) != step.records || len(got) == 1 && got[0].Severity != step.now {
			t.Fatalf("%s %s at %d: %+v", step.cause, step.severity, (at-start)/slot, got)
		}
	}
}

func TestMembersJoinAndLeave(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	at := start
	cut(t, b, at, silent("boilers", at, 10))
	s := silent("boilers", at+slot, 0)
	s.Back, s.Devices = []uint32{1, 2, 3}, []event.Member{{ID: "boilers-900", No: 901, Since: start - 3*slot}}
	got := cut(t, b, at+slot, s)
	if len(got) != 1 || got[0].Count != 8 || got[0].Devices[0].No != 901 || !slices.IsSortedFunc(got[0].Devices, func(a, b event.Member) int {
		return int(a.Since - b.Since)
	}) {
		t.Fatalf("%+v", got)
	}
	s = silent("boilers", at+2*slot, 3) // it names all that there are
	if got := cut(t, b, at+2*slot, s); len(got) != 1 || got[0].Count != 3 || len(got[0].Devices) != 3 {
		t.Fatalf("%+v", got)
	}
}

func TestAnAcknowledgementStaysWithTheIncident(t *testing.T) {
	b := NewBook(DefaultSettings(), offsets)
	id := cut(t, b, start, silent("boilers", start, 15))[0].ID
	if got := b.Acknowledge("i234567234567", "ada", start, start); got != nil {
		t.Errorf("of no incident: %+v", got)
	}
	got := b.Acknowledge(id, "ada", start+30_000, start+60_000)
	check(t, got)
	if len(got) != 1 || got[0].Acked != (event.Ack{Who: "ada", At: start + 30_000}) || got[0].Revision != 2 || got[0].At != start+60_000 {
		t.Fatalf("%+v", got)
	}
	if got := b.Acknowledge(id, "bob", start+90_000, start+90_000); got != nil {
		t.Errorf("it is taken: %+v", got)
	}
	at := start
	for b.Open() > 0 {
		at += slot
		cut(t, b, at, over(silent("boilers", at, 0)))
	}
	if got := b.Acknowledge(id, "bob", at, at); got != nil {
		t.Errorf("it is over: %+v", got)
	}
	if got := cut(t, b, at+slot, silent("boilers", at+slot, 15)); len(got) != 1 || got[0].Acked.Who != "ada" {
		t.Errorf("the same one again: %+v", got)
	}
}

func TestOurOwnOutageIsNoQuietAndAbsorbsSilences(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	at := start
	child := cut(t, b, at, silent("boilers", at, 15))[0].ID
	at += slot
	cut(t, b, at, over(silent("boilers", at, 0)))
	for range 20 { // nothing is decided in it
		at += slot
		if got := append(b.Take(at, nil), b.Tick(at, true)...); len(got) != 0 {
			t.Fatalf("%+v", got)
		}
	}
	at += slot
	pipeline := Signal{Kind: event.Pipeline, Cause: CauseLog, Since: start - slot, At: at, Period: slot, Why: "no gateway was heard"}
	before := silent("valves", at, 7) // longer than that
	before.Since = start - 9*slot
	old := cut(t, b, at, before)[0].ID
	got := cut(t, b, at, silent("boilers", at, 15), silent("pumps", at, 9), pipeline, before)
	if b.ids[old] == nil || !b.ids[old].isOpen() {
		t.Error("what began before is absorbed")
	}
	if len(got) != 2 || got[0].Kind != event.Pipeline || got[1].ID != child || got[1].State != event.IncidentResolved || !strings.Contains(got[1].Why, got[0].ID) {
		t.Fatalf("%+v", got)
	}
	at += slot
	pipeline.At, pipeline.Over, pipeline.Now = at, true, true
	if got = cut(t, b, at, pipeline); len(got) != 1 || got[0].ResolvedAt != at {
		t.Fatalf("%+v", got)
	}
	at += slot
	if got = cut(t, b, at, silent("boilers", at, 15)); len(got) != 1 || got[0].ID != child || got[0].Reopened != 1 {
		t.Errorf("who is silent still has the same incident again: %+v", got)
	}
}

func TestARegionThatIsOutIsOneIncident(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	region := Signal{Kind: event.SilentCohort, Cause: CauseRegion, Subject: event.Subject{Region: "eu"}, Since: start - slot, At: start, Period: slot, Count: 60}
	other := silent("boilers", start, 9)
	other.Subject.Region = "us"
	got := cut(t, b, start, silent("boilers", start, 15), other, silent("pumps", start, 9), region)
	if len(got) != 2 || got[0].Subject != region.Subject || got[0].Runbook != "docs/runbooks/gateway-or-region-out.md" || got[1].Subject != other.Subject {
		t.Fatalf("%+v", got)
	}
}

func TestAFailedUpdateExplainsItsSilences(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	at := start
	early := cut(t, b, at, silent("boilers", at, 12))
	fails := Signal{
		Kind: event.UpdateFailure, Cause: CauseFailures, Subject: event.Subject{Rollout: "r-7", Cohort: "boilers"}, Since: at - 3*slot, At: at + slot,
		Devices: silent("boilers", at, 10).Devices, Count: 10, Why: "ten of fifty, against one of four hundred",
	}
	at += slot
	got := cut(t, b, at, silent("boilers", at, 12), fails)
	if len(got) != 2 || got[0].Kind != event.UpdateFailure || got[1].ID != early[0].ID || got[1].State != event.IncidentResolved {
		t.Fatalf("%+v", got)
	}
	at += slot
	if got := cut(t, b, at, silent("boilers", at, 12), fails); len(got) != 0 {
		t.Errorf("told twice: %+v", got)
	}
	// Thirty more fall silent: that is another matter, and the ten are not named in it.
	at += slot
	got = cut(t, b, at, silent("boilers", at, 40))
	if len(got) != 1 || got[0].Count != 30 || slices.ContainsFunc(got[0].Devices, func(m event.Member) bool { return m.No <= 10 }) {
		t.Fatalf("%+v", got)
	}
}

func TestTenThousandSignalsAtOnceStayBounded(t *testing.T) {
	s := DefaultSettings()
	s.MaxOpen, s.MaxNamed = 100, 2_000
	b := NewBook(s, offsets)
	rng := rand.New(rand.NewPCG(3, 4))
	at, records := start, 0
	for round := range 2 {
		var storm []Signal
		for i := range 10_000 {
			signal := silent(fmt.Sprintf("cohort-%d", i), at, 30)
			signal.Count = 2_000_000
			signal.Devices = append(signal.Devices, event.Member{ID: "No Id", Since: -1})
			storm = append(storm, signal)
			if i%20 != 0 {
				continue
			}
			signal.Subject.Metric = strings.Repeat("\x00\xff", 700) // whatever a device may have sent
			signal.Why, signal.Title = strings.Repeat("é", 900), strings.Repeat("a\n", 400)
			signal.Since, signal.At = rng.Int64N(1<<62)-1<<61, at+rng.Int64N(1<<40)
			for range 70 {
				signal.Numbers = append(signal.Numbers, event.Number{Name: "n" + fmt.Sprint(rng.IntN(1_000)), Unit: strings.Repeat("u", 99)}, event.Number{Name: "No Name"})
			}
			storm[i] = signal
		}
		got := cut(t, b, at, storm...)
		records += len(got)
		if b.Open() != 101 || b.named > 2_000+100*few || len(b.entries) > 7*100 {
			t.Fatalf("%d open, %d named, %d kept", b.Open(), b.named, len(b.entries))
		}
		if round == 0 {
			last := got[len(got)-1]
			if last.Cause != CauseMany || last.Count != 9_900 || !strings.Contains(last.Title, "9900 more incidents of kind silent-cohort") {
				t.Errorf("%+v", last)
			}
		}
		at += slot
	}
	if records > 101*3 {
		t.Errorf("%d records of one storm", records)
	}
	// Another kind has its own room, and the storm's end is told.
	if got := cut(t, b, at, Signal{Kind: event.Security, Cause: CauseClone, Subject: event.Subject{Device: "pump-1"}, At: at}); len(got) != 1 || got[0].Severity != event.SeverityCritical {
		t.Errorf("%+v", got)
	}
	for range 30 {
		at += slot
		var ends []Signal
		for _, e := range b.entries {
			if e.isOpen() && !e.many {
				ends = append(ends, Signal{Kind: e.now.Kind, Subject: e.now.Subject, At: at, Period: slot, Over: true})
			}
		}
		cut(t, b, at, ends...)
	}
	if b.Open() != 0 || b.named != 0 || len(b.rest[0].seen) != 0 {
		t.Errorf("%d open, %d named, %d of the rest", b.Open(), b.named, len(b.rest[0].seen))
	}
	if at += 100 * slot; len(cut(t, b, at)) != 0 || len(b.entries) != 0 || len(b.ids) != 0 || len(b.subjects) != 0 {
		t.Errorf("%d, %d, %d are kept for ever", len(b.entries), len(b.ids), len(b.subjects))
	}
}

func TestAnIncidentsRecordsAreBounded(t *testing.T) {
	s := DefaultSettings()
	s.MaxRevisions = 10
	b := NewBook(s, nil)
	records, ids := 0, map[string]int{}
	at := start
	for i := range 700 {
		signal := silent("boilers", at, 1+i%2*500)
		if i%9 > 2 {
			signal = over(signal)
		}
		for _, r := range cut(t, b, at, signal) {
			records++
			ids[r.ID]++
		}
		at += slot
	}
	for id, n := range ids {
		if n > 11 {
			t.Errorf("%d records of %s", n, id)
		}
	}
	if records > 400 { // a cause that comes and goes for days, each time for longer than damping bridges
		t.Errorf("%d records", records)
	}
}

func TestNothingOfAKindThatIsNotKnownIsTold(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	if got := cut(t, b, start, Signal{Kind: "weather", At: start}); len(got) != 0 || b.OpenOf("weather") != 0 {
		t.Errorf("%+v", got)
	}
}

// story is a random life of a few incidents.
func story(seed uint64, cuts int) func(i int) (at int64, signals []Signal, ack string) {
	rng := rand.New(rand.NewPCG(seed, 9))
	type step struct {
		at      int64
		signals []Signal
		ack     string
	}
	var all []step
	for i := range cuts {
		at := start + int64(i)*slot/2
		var signals []Signal
		for c := range 6 {
			signal := silent(fmt.Sprintf("cohort-%d", c), at, 1+rng.IntN(30))
			signal.Cause = []string{CausePower, CauseRadio, CauseUnknown}[rng.IntN(3)]
			switch rng.IntN(6) {
			case 0, 1, 2:
				signal = over(signal)
			case 3:
				continue
			}
			signals = append(signals, signal)
		}
		if rng.IntN(9) == 0 {
			signals = append(signals, Signal{Kind: event.Pipeline, Cause: CauseLog, Since: at, At: at, Period: slot, Over: rng.IntN(2) == 0, Now: true})
		}
		ack := ""
		if rng.IntN(5) == 0 {
			ack = "ada"
		}
		all = append(all, step{at, signals, ack})
	}
	return func(i int) (int64, []Signal, string) { return all[i].at, all[i].signals, all[i].ack }
}

func live(t testing.TB, b *Book, next func(int) (int64, []Signal, string), from, to int) (records []event.Incident) {
	for i := from; i < to; i++ {
		at, signals, ack := next(i)
		records = append(records, b.Take(at, signals)...)
		if ack != "" && len(b.entries) > 0 {
			records = append(records, b.Acknowledge(b.entries[0].now.ID, ack, at, at)...)
		}
		records = append(records, b.Tick(at, i%13 == 12)...)
	}
	check(t, records)
	return records
}

// written are the records' bytes.
func written(t testing.TB, records []event.Incident) string {
	var all strings.Builder
	for _, r := range records {
		r.N, r.Detector = 1, "silence-1-00000000"
		value, _, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(value)
	}
	return all.String()
}

func TestABookRestoredAtAnyCutGoesOnTheSame(t *testing.T) {
	const cuts = 80
	s := DefaultSettings()
	s.MaxOpen = 4 // the rest is in it, too
	next := story(5, cuts)
	whole := live(t, NewBook(s, offsets), next, 0, cuts)
	all := written(t, whole)
	if len(whole) < 40 {
		t.Fatalf("only %d records", len(whole))
	}
	for at := range cuts {
		b := NewBook(s, offsets)
		head := live(t, b, next, 0, at)
		var one, two bytes.Buffer
		if err := b.Snapshot(&one); err != nil {
			t.Fatal(err)
		}
		back := NewBook(s, offsets)
		if err := back.Restore(bytes.NewReader(one.Bytes())); err != nil {
			t.Fatalf("cut %d: %v", at, err)
		}
		if err := back.Snapshot(&two); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Fatalf("cut %d: what was restored is another, %v", at, err)
		}
		if got := append(head, live(t, back, next, at, cuts)...); written(t, got) != all {
			t.Fatalf("cut %d: another story", at)
		}
	}
}

func FuzzABookIsReadOrRefused(f *testing.F) {
	b := NewBook(DefaultSettings(), offsets)
	b.Take(start, []Signal{silent("boilers", start, 2)})
	var buf bytes.Buffer
	if err := b.Snapshot(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(buf.Bytes()[:100])
	f.Fuzz(func(t *testing.T, p []byte) {
		b := NewBook(DefaultSettings(), offsets)
		if b.Restore(bytes.NewReader(p)) == nil {
			_ = append(b.Take(start, []Signal{silent("boilers", start, 3)}), b.Tick(start, false)...)
		}
	})
}

func TestSettingsThatCannotBeAreNamed(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Settings){
		"quiet": func(s *Settings) { s.Quiet = 0 }, "again": func(s *Settings) { s.Again = -1 }, "max_open": func(s *Settings) { s.MaxOpen = 1 << 20 },
		"max_named": func(s *Settings) { s.MaxNamed = 0 }, "max_revisions": func(s *Settings) { s.MaxRevisions = 0 },
		"runbooks": func(s *Settings) { s.Runbooks = "https://a\nb" },
	} {
		s := DefaultSettings()
		spoil(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "incidents."+name+" ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWayThatFlapsIsOneIncident(t *testing.T) {
	b := NewBook(DefaultSettings(), nil)
	stalled := func(from, at int64) Signal {
		return Signal{Kind: event.Pipeline, Cause: CauseGateway, Subject: event.Subject{Region: "west"}, Since: from, At: at, Why: "no gateway was heard"}
	}
	var records []event.Incident
	at, ended := start, int64(0)
	for range 5 { // six minutes down, six up
		from := at
		for range 6 {
			at += minute
			records = append(records, cut(t, b, at, stalled(from, at))...)
		}
		at += minute
		records = append(records, cut(t, b, at, over(stalled(from, at)))...)
		ended = at
		for range 5 {
			at += minute
			records = append(records, cut(t, b, at)...)
		}
	}
	for range 30 {
		at += minute
		records = append(records, cut(t, b, at)...)
	}
	var said []string
	for _, r := range records {
		said = append(said, fmt.Sprint(r.State, " ", r.Revision, " ", r.Reopened))
		if r.ID != records[0].ID {
			t.Errorf("it is another incident: %s", r.Title)
		}
	}
	if want := []string{"open 1 0", "resolved 2 0", "open 3 1", "resolved 4 1"}; !slices.Equal(said, want) {
		t.Fatalf("told is %q, and %q is right", said, want)
	}
	if last := records[len(records)-1]; last.At != ended+comesAgain || last.ResolvedAt != ended || !strings.Contains(last.Why, "15 minutes") {
		t.Errorf("resolved at %d of %d, told at %d: %s", last.ResolvedAt, ended, last.At, last.Why)
	}
}

func TestWhatBeganLongAgoTakesNoIDAgain(t *testing.T) {
	for _, gap := range []int64{20 * minute, 61 * minute, 40 * 60 * minute} {
		b := NewBook(DefaultSettings(), nil)
		s := silent("boilers", start, 20)
		s.Period = minute
		first := cut(t, b, start, s)[0]
		end := over(s)
		end.Now, end.Why = true, "it is part of another one"
		cut(t, b, start+minute, end)
		for at := start + 2*minute; at < start+gap; at += minute {
			cut(t, b, at)
		}
		s.At = start + gap
		second := cut(t, b, start+gap, s)[0]
		if second.Revision != 1 || second.ID == first.ID {
			t.Errorf("after %d minutes: revision %d of %s, and the one before was %s", gap/minute, second.Revision, second.ID, first.ID)
		}
	}
}
