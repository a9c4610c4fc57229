package deliver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const since = 1_795_000_000_000 // Unix ms

func id(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := []byte("iaaaaaaaaaaaa")
	for i := range 4 {
		b[12-i] = letters[n%32]
		n /= 32
	}
	return string(b)
}

// incident is one of a cohort, as it is opened.
func incident(n int, severity string) event.Incident {
	return event.Incident{N: 1, ID: id(n), State: event.IncidentOpen, Kind: event.SilentCohort, Severity: severity, Title: "3 of 10 devices are silent", Cause: "power",
		Subject: event.Subject{Cohort: fmt.Sprintf("c%d", n), Region: "eu"}, Since: since, At: since + 60_000, Revision: 1, Count: 3,
		Devices: []event.Member{{ID: "pump-1", No: 1, Since: since}}, Numbers: []event.Number{{Name: "missing", Micro: 3_000_000}},
		Detector: "silence-v1-00c0ffee", Runbook: "https://muster.dev/runbooks/silent-cohort.md", Why: "3 devices missed two intervals."}
}

func then(i event.Incident, change func(*event.Incident)) event.Incident {
	i.Revision++
	i.At += 60_000
	change(&i)
	return i
}

func closed(i event.Incident) event.Incident {
	return then(i, func(i *event.Incident) { i.State, i.ResolvedAt = event.IncidentResolved, i.At })
}

func acked(i event.Incident) event.Incident {
	return then(i, func(i *event.Incident) { i.Acked = event.Ack{Who: "ann", At: i.At} })
}

var (
	pages  = policy{batch: 1, rate: 30, repeat: 15 * time.Minute, doubles: 4, hush: true, gap: time.Minute}
	alerts = policy{batch: 200, most: 1000, repeat: time.Minute, gap: time.Minute, hold: 10 * time.Minute}
)

// world is a book and a receiver that takes everything, or nothing.
type world struct {
	*book
	t    *testing.T
	now  time.Time
	off  int64
	log  []event.Incident
	down bool
	said []string // "action id" in the order in which it was sent
}

func newWorld(t *testing.T, p policy) *world {
	return &world{book: newBook(Match{}, p, restored{}, noon), t: t, now: noon}
}

func (w *world) hear(list ...event.Incident) {
	for _, i := range list {
		w.take(w.off, i, w.now)
		w.log = append(w.log, i)
		w.off++
	}
}

// pass lets time pass, and gives what was sent in it.
func (w *world) pass(d time.Duration) (out []string) {
	w.t.Helper()
	from := len(w.said)
	for end := w.now.Add(d); ; {
		round, wait := w.round(w.now)
		if len(round) > 0 {
			if !w.down {
				for _, m := range round {
					w.said = append(w.said, name(m))
				}
			}
			w.done(round, !w.down, false, w.now)
			if w.down {
				wait = time.Second
			} else {
				continue
			}
		}
		if w.now = w.now.Add(wait); w.now.After(end) {
			w.now = end
			return w.said[from:]
		}
	}
}

func name(m message) string {
	if m.sum != nil {
		return fmt.Sprintf("%s many %d", m.action, m.sum.count)
	}
	return string(m.action) + " " + m.inc.ID
}

// restart is another process with the place that was committed; what was not is read again.
func (w *world) restart() {
	p := w.place()
	w.book = newBook(w.match, w.policy, parsePlace(p.commit, p.metadata()), w.now)
	for off := p.low; off < w.off; off++ {
		w.take(off, w.log[off], w.now)
	}
	w.begin(w.now)
}

func want(t *testing.T, got []string, list ...string) {
	t.Helper()
	if !slices.Equal(got, list) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(list, "\n"))
	}
}

func TestAnIncidentIsToldOpenedUpdatedAndResolved(t *testing.T) {
	w := newWorld(t, pages)
	a := incident(1, event.SeverityWarning)
	w.hear(a)
	want(t, w.pass(0))
	want(t, w.pass(time.Second), "opened "+a.ID)
	a = then(a, func(i *event.Incident) { i.Severity = event.SeverityCritical })
	w.hear(a)
	want(t, w.pass(time.Second), "updated "+a.ID)
	// One device more is not worth a message at once.
	a = then(a, func(i *event.Incident) { i.Count++ })
	w.hear(a)
	want(t, w.pass(30*time.Second))
	want(t, w.pass(30*time.Second), "updated "+a.ID)
	w.hear(closed(a))
	want(t, w.pass(time.Second), "resolved "+a.ID)
	want(t, w.pass(24*time.Hour))
	if len(w.entries) > 0 {
		t.Error("it is remembered")
	}
}

func TestWhatIsOpenIsRepeatedLessAndLessUntilSomebodyTakesIt(t *testing.T) {
	w := newWorld(t, pages)
	a := incident(1, event.SeverityCritical)
	w.hear(a)
	w.pass(time.Second)
	for _, gap := range []time.Duration{15, 30, 60, 120, 240, 240} {
		want(t, w.pass(gap*time.Minute-2*time.Second))
		want(t, w.pass(2*time.Second), "repeated "+a.ID)
	}
	w.hear(acked(a))
	want(t, w.pass(time.Second), "acknowledged "+a.ID)
	want(t, w.pass(48*time.Hour))
	w.hear(then(acked(a), func(i *event.Incident) { i.Count = 9 }))
	want(t, w.pass(48*time.Hour))
	w.restart()
	want(t, w.pass(48*time.Hour))
	w.hear(closed(acked(a)))
	want(t, w.pass(time.Second), "resolved "+a.ID)
}

func TestWhatEndedBeforeAnybodyHeardIsNotTold(t *testing.T) {
	w := newWorld(t, pages)
	a, b, c := incident(1, event.SeverityCritical), incident(2, event.SeverityWarning), incident(3, event.SeverityWarning)
	w.down = true
	w.hear(a, b, c)
	w.pass(time.Minute)
	w.hear(closed(a), acked(c))
	w.down = false
	want(t, w.pass(time.Minute), "opened "+b.ID)
	w.hear(closed(acked(c)))
	want(t, w.pass(time.Minute))
	if w.unsent != 2 || w.hushed != 1 {
		t.Errorf("%d were counted as resolved before, %d as acknowledged", w.unsent, w.hushed)
	}
	if p := w.place(); p.commit != w.off {
		t.Errorf("%d of %d are committed", p.commit, w.off)
	}
}

func TestOnlyTheLatestStateIsTold(t *testing.T) {
	w := newWorld(t, pages)
	a := incident(1, event.SeverityWarning)
	w.down = true
	for range 100 {
		w.hear(a)
		w.pass(time.Second)
		a = then(a, func(i *event.Incident) { i.Count++ })
	}
	w.down = false
	want(t, w.pass(10*time.Second), "opened "+a.ID)
}

// A message may have been taken though its end was not heard: then the receiver is told that it is over.
func TestAMessageInDoubtIsFollowedByItsEnd(t *testing.T) {
	w := newWorld(t, pages)
	a := incident(1, event.SeverityWarning)
	w.hear(a)
	w.now = w.now.Add(time.Second)
	round, _ := w.round(w.now)
	w.hear(closed(a)) // while it is under way
	w.done(round, false, true, w.now)
	want(t, w.pass(time.Second), "resolved "+a.ID)
	// And so by whoever comes after a process that died with it under way.
	b := incident(2, event.SeverityWarning)
	w.hear(b)
	w.may = w.next
	w.now = w.now.Add(time.Second)
	w.round(w.now)
	w.hear(closed(b))
	w.restart()
	want(t, w.pass(time.Second), "resolved "+b.ID)
	// A message that surely was not taken leaves nothing to take back.
	c := incident(3, event.SeverityWarning)
	w.hear(c)
	w.now = w.now.Add(time.Second)
	round, _ = w.round(w.now)
	w.hear(closed(c))
	w.done(round, false, false, w.now)
	want(t, w.pass(time.Minute))
}

func TestWhatChangesWhileItsMessageIsUnderWayIsToldAfterIt(t *testing.T) {
	w := newWorld(t, pages)
	a := incident(1, event.SeverityWarning)
	w.hear(a)
	w.now = w.now.Add(time.Second)
	round, _ := w.round(w.now)
	w.hear(closed(a))
	if p := w.place(); p.commit != 0 {
		t.Errorf("%d is committed before the receiver has it", p.commit)
	}
	w.done(round, true, false, w.now)
	if p := w.place(); p.commit != 1 {
		t.Errorf("%d is committed, want 1", p.commit)
	}
	want(t, w.pass(time.Second), "resolved "+a.ID)
	if p := w.place(); p.commit != 2 || p.low != 2 {
		t.Errorf("the place is %+v", p)
	}
}

func TestOfTenThousandAtOnceTheWorstAreToldAndTheRestAsOne(t *testing.T) {
	w := newWorld(t, pages)
	const many = 10_000
	var list []event.Incident
	for n := range many {
		severity := event.SeverityWarning
		if n%1000 == 999 {
			severity = event.SeverityCritical
		}
		list = append(list, incident(n, severity))
	}
	w.hear(list...)
	first := w.pass(10 * time.Second)
	if len(first) != 31 || first[30] != "opened many 9970" {
		t.Fatalf("%d messages, the 31st %q", len(first), first[30])
	}
	for n := range 10 {
		if first[n] != "opened "+list[n*1000+999].ID {
			t.Errorf("message %d is %s", n, first[n])
		}
	}
	t.Run("and stays so in another process", func(t *testing.T) {
		w.restart()
		open, sum := w.counts()
		if p := w.place(); open != many || sum != 9970 || p.commit != w.off || len(p.metadata()) > maxMetadata {
			t.Errorf("%d open, %d of them summarised, place %v", open, sum, p.commit)
		}
	})
	if hour := w.pass(5 * time.Minute); len(hour) > 5*31 {
		t.Errorf("%d messages in five minutes", len(hour))
	}
	for n, i := range list { // they end one after another, for three hours
		if w.hear(closed(i)); n%20 == 0 {
			w.pass(20 * time.Second)
		}
	}
	w.pass(time.Hour)
	if last := w.said[len(w.said)-1]; !slices.Contains(w.said, "resolved many 0") || !strings.HasPrefix(last, "resolved ") {
		t.Errorf("it ends with %s", last)
	}
	if n := len(w.said); n > 31*60*5 || len(w.entries) > 0 {
		t.Errorf("%d messages, %d incidents are left", n, len(w.entries))
	}
	opens, ends := 0, 0
	for _, s := range w.said {
		if strings.HasPrefix(s, "opened i") {
			opens++
		} else if strings.HasPrefix(s, "resolved i") {
			ends++
		}
	}
	if opens != ends {
		t.Errorf("%d were opened, %d resolved", opens, ends)
	}
}

func TestAFewMoreThanTheRateWaitAMinuteAndAreTold(t *testing.T) {
	w := newWorld(t, pages)
	for n := range 50 {
		w.hear(incident(n, event.SeverityWarning))
	}
	if n := len(w.pass(2 * time.Second)); n < 30 || n > 32 {
		t.Errorf("%d messages at once", n)
	}
	w.pass(time.Minute)
	if len(w.said) != 50 || slices.ContainsFunc(w.said, func(s string) bool { return strings.Contains(s, "many") }) {
		t.Errorf("%d messages: %s", len(w.said), w.said[len(w.said)-1])
	}
}

func TestWhatIsInASummaryIsToldOnItsOwnWhenItGetsWorse(t *testing.T) {
	w := newWorld(t, pages)
	for n := range 1000 {
		w.hear(incident(n, event.SeverityWarning))
	}
	w.pass(time.Minute)
	bad := then(incident(999, event.SeverityWarning), func(i *event.Incident) { i.Severity = event.SeverityCritical })
	w.hear(bad)
	if got := w.pass(10 * time.Second); !slices.Contains(got, "opened "+bad.ID) {
		t.Errorf("it says %q", got)
	}
}

func TestAnAlertmanagerIsToldEveryMinuteAndForAWhileThatItIsOver(t *testing.T) {
	w := newWorld(t, alerts)
	a, b := incident(1, event.SeverityWarning), incident(2, event.SeverityCritical)
	w.hear(a, b)
	want(t, w.pass(time.Second), "opened "+b.ID, "opened "+a.ID)
	for range 3 {
		want(t, w.pass(time.Minute), "repeated "+b.ID, "repeated "+a.ID)
	}
	w.hear(acked(a)) // which it shows, and tells on
	want(t, w.pass(time.Second), "acknowledged "+a.ID)
	w.hear(closed(acked(a)), closed(b))
	w.pass(time.Second)
	n := 0
	for _, s := range w.pass(time.Hour) {
		if s != "resolved "+a.ID && s != "resolved "+b.ID {
			t.Errorf("it says %s", s)
		}
		n++
	}
	if n < 18 || n > 22 || len(w.entries) > 0 {
		t.Errorf("told %d times again, %d are left", n, len(w.entries))
	}
}

func TestAnAlertmanagerHasSoManyAndASummary(t *testing.T) {
	p := alerts
	p.most = 300
	w := newWorld(t, p)
	for n := range 2_000 {
		w.hear(incident(n, event.SeverityWarning))
	}
	got := w.pass(time.Second)
	if len(got) != 301 || got[300] != "opened many 1700" {
		t.Fatalf("%d alerts, the last %s", len(got), got[len(got)-1])
	}
	if got = w.pass(time.Minute); len(got) != 301 {
		t.Errorf("%d alerts in a minute", len(got))
	}
	w.restart()
	w.pass(2 * time.Minute)
	for n := range 2_000 {
		w.hear(closed(incident(n, event.SeverityWarning)))
		if n%100 == 0 {
			w.pass(time.Second)
		}
	}
	w.pass(time.Hour)
	if len(w.entries) > 0 || !slices.Contains(w.said, "resolved many 0") {
		t.Errorf("%d are left", len(w.entries))
	}
}

func TestAPlaceIsReadAsItWasWritten(t *testing.T) {
	p := restored{commit: 500, low: 40, may: 510, many: 42, sums: []span{{41, 41}, {50, 90}}}
	got := parsePlace(500, p.metadata())
	if fmt.Sprint(got) != fmt.Sprint(p) {
		t.Errorf("%+v, want %+v", got, p)
	}
	for at, want := range map[int64]bool{40: false, 41: true, 42: false, 50: true, 90: true, 91: false} {
		if got.summed(at) != want {
			t.Errorf("%d is in a summary: %v", at, !want)
		}
	}
	for n := int64(0); n < 10_000; n += 2 {
		p.sums = append(p.sums, span{1000 + n, 1000 + n})
	}
	if text := p.metadata(); len(text) > maxMetadata || fmt.Sprint(parsePlace(500, text).low) != "40" {
		t.Errorf("%d bytes", len(text))
	}
}

func FuzzAPlaceIsAnyText(f *testing.F) {
	f.Add(int64(5), "1 low=3 may=9 sum=0-1,2-2")
	f.Add(int64(-1), "")
	f.Add(int64(7), "1 low=-9 may=99999999999999999999 sum=5-1,,x-y")
	f.Fuzz(func(t *testing.T, commit int64, text string) {
		p := parsePlace(commit, text)
		if p.low < 0 || p.low > p.commit || p.commit < 0 || p.may < 0 {
			t.Errorf("%+v", p)
		}
		p.summed(p.low)
	})
}

// The process that told of many died when they had ended, and before it said so.
func TestASummaryIsTakenBackByWhoeverComesNext(t *testing.T) {
	w := newWorld(t, pages)
	for n := range 100 {
		w.hear(incident(n, event.SeverityWarning))
	}
	w.pass(10 * time.Second)
	for n := range 100 {
		w.hear(closed(incident(n, event.SeverityWarning)))
	}
	w.down = true
	w.pass(time.Second)
	w.down = false
	for range 2 {
		w.restart()
		w.pass(5 * time.Minute)
	}
	if got := w.said[len(w.said)-1]; !slices.Contains(w.said, "resolved many 0") || len(w.entries) > 0 {
		t.Errorf("it ends with %s, %d are left", got, len(w.entries))
	}
}
