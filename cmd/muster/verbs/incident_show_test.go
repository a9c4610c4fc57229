package verbs

import (
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
)

// darkLooks are looks at twenty devices in two partitions, every 15 s for half an hour; twelve of them fall silent in the tenth
// minute, and in the last five our own side is out.
func darkLooks(begin int64) (all []look) {
	for at := int64(0); at <= 30*60; at += 15 {
		for part := range int32(2) {
			l := look{at: begin + at*1000, of: place{part, "pumps", "eu"}, expected: 10, ours: at >= 25*60}
			if at >= 10*60 {
				l.missing = 6
			}
			all = append(all, l)
		}
	}
	return all
}

func TestASilenceIsDrawnAsItWasSeen(t *testing.T) {
	begin := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC).UnixMilli()
	i := event.Incident{Kind: event.SilentCohort, Since: begin + 9*60_000}
	var b strings.Builder
	draw(darkLooks(begin)).print(&b, &i)
	want := `
missing of the expected, 2026-03-01 02:00:00 to 02:30:00 UTC, 35s a column: _ none, ▄ half, █ all; ? our own side was out
  _________________▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅??????????
                 ^ since 02:09:00; most 12 of 20 at 02:10:15; last 12 of 20 at 02:30:00
`
	if b.String() != want {
		t.Errorf("drawn:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestWhatWasSeenHoldsUntilTheNextLook(t *testing.T) {
	slow, quick := place{0, "slow", "eu"}, place{0, "quick", "eu"}
	d := draw([]look{
		{at: 0, of: slow, expected: 10, missing: 10}, {at: 0, of: quick, expected: 10},
		{at: 5_000, of: quick, expected: 10, missing: 10},
		{at: 10_000, of: quick},
		{at: 10_000, of: slow},
	})
	if d.used != 3 || d.share[0] != .5 || d.share[1] != 1 || d.share[2] != -1 || d.worst != (seen{5_000, 20, 20}) {
		t.Errorf("%+v", d)
	}
	if draw(nil) != nil {
		t.Error("nothing was seen, and it is drawn")
	}
	for _, span := range []int64{0, 1, 299_999, 300_000, 12 * 3_600_000} { // no column is beyond the last
		if d := draw([]look{{at: 7}, {at: 7 + span}}); d.used < 1 || d.used > columns || d.step%5_000 != 0 {
			t.Errorf("%d ms: %d columns of %d ms", span, d.used, d.step)
		}
	}
}

func TestAnIncidentIsReadFromTheTop(t *testing.T) {
	since := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC).UnixMilli()
	first := event.Incident{
		ID: "iabcdefghijkl", State: event.IncidentOpen, Severity: event.SeverityCritical, Kind: event.SilentCohort, Cause: "power", Title: "twelve are silent", Why: "because",
		Since: since, At: since + 84_603, Revision: 1, Count: 12, Runbook: "docs/runbooks/silent-cohort.md",
		Numbers:    []event.Number{{Name: "cusum", Micro: 20_500_000, Unit: "nat"}, {Name: "missing", Micro: 12_000_000, Unit: "devices"}},
		Thresholds: []event.Number{{Name: "cusum", Micro: 18_100_000, Unit: "nat"}, {Name: "share_above_usual", Micro: 20_000}},
		Evidence:   []event.Range{{Topic: "t", Part: 0, From: 1, To: 5}, {Topic: "r", Part: 0, From: 53, To: 53}, {Topic: "t", Part: 1, From: 2, To: 9}},
	}
	second := first
	second.Revision, second.At, second.Acked = 2, since+120_000, event.Ack{Who: "ada", At: since + 110_000}
	part := event.Incident{ID: "ibbbbbbbbbbbb", State: event.IncidentResolved, Why: "it is part of incident " + first.ID + ", which goes on"}
	var b strings.Builder
	if err := printStory(&b, story{first, second}, story{first}.partsOf(told{first.ID: {first, second}, part.ID: {part}}), nil); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"twelve are silent\nbecause\n\nincident      iabcdefghijkl, open, critical\nto do         docs/runbooks/silent-cohort.md\n",
		"1m25s after",
		"takes in      ibbbbbbbbbbbb\n",
		"  cusum                              20.5           18.1 nat\n",
		"  missing                              12                devices\n",
		"  share_above_usual                                 0.02\n",
		"  t                    0: 1 to 5, 1: 2 to 9\n",
		"power\n  2026-03-01 02:02:00  open      critical     12 devices  power, ada took it on\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "53") {
		t.Errorf("a stretch of nothing is evidence:\n%s", text)
	}
	if got := lasted(&second, time.UnixMilli(since).Add(time.Hour)); got != "1h" {
		t.Errorf("open for an hour: %s", got)
	}
	if second.ResolvedAt = since + 60_000; lasted(&second, time.UnixMilli(since).Add(time.Hour)) != "1m" {
		t.Error("a resolved one goes on")
	}
}
