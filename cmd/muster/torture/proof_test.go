//go:build linux

package torture

import (
	"strings"
	"testing"
	"time"
)

// What judges the rest is itself held to what it must see.

func TestAnAcceptanceWhileThereIsNoBrokerIsFound(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	away := []absence{{died: at(0), refused: at(1000), taken: at(1005), ready: at(1100)}}
	back := []accept{{0, at(900), at(1300)}, {1, at(1200), at(1400)}}
	for name, c := range map[string]struct {
		accepts []accept
		want    string
	}{
		"in order":                          {nil, ""},
		"before the death":                  {[]accept{{0, at(-20), at(-10)}}, ""},
		"an answer that was on its way":     {[]accept{{0, at(-20), at(5)}}, ""},
		"sent and accepted in between":      {[]accept{{1, at(300), at(310)}}, "FALSE"},
		"while the broker may have been up": {[]accept{{1, at(300), at(1002)}}, ""},
	} {
		r := &run{fleet: &fleet{accepts: append(c.accepts, back...)}, report: newReport("", 1)}
		v := &verdict{}
		r.absences(v, away)
		if got := strings.Join(v.Findings, "; "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if took := r.report.rtos[sinceReady]; len(took) != 1 || took[0] != 300*time.Millisecond {
			t.Errorf("%s: accepted again after %v, want 300ms", name, took)
		}
	}
	r := &run{fleet: &fleet{accepts: []accept{{0, at(900), at(1300)}, {1, at(1200), at(6200)}}}, report: newReport("", 1)}
	v := &verdict{}
	if r.absences(v, away); len(v.Findings) != 1 {
		t.Errorf("a gateway that needs more than 5 s: %q", v.Findings)
	}
}

func TestAFloodsMessagesAndRetriesAreAFunctionOfTheirNumber(t *testing.T) {
	c := &source{name: "one", no: 7}
	const n = 3 * floodBoot
	want, got := 0, map[uint64]int{}
	for i := range uint64(n) {
		if k := c.message(i); k.place() != i || k.boot == 0 {
			t.Fatalf("message %d is %+v, which is %d", i, k, k.place())
		}
		if back := c.retry(i); back > 0 && i+back < n {
			want++
		}
		c.due(i, func(m uint64) {
			if got[m]++; m >= i || m+c.retry(m) != i {
				t.Errorf("behind %d comes %d again", i, m)
			}
		})
	}
	if len(got) != want {
		t.Errorf("%d messages are sent again, want %d", len(got), want)
	}
	if share := float64(want) / n; share < 0.08 || share > 0.12 {
		t.Errorf("%.2f of the messages are sent again", share)
	}
	for m, times := range got {
		if times != 1 {
			t.Errorf("message %d is sent again %d times", m, times)
		}
	}
}
