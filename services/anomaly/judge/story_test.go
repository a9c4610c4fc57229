package judge

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

var anew = flag.Bool("update", false, "write the golden story anew")

// The story: minutes in which twelve pumps of each of two shards are known to be missing, and its end.
const (
	lost, found, end = 351, 361, 385
	perShard         = 20
)

// cut is what a shard says of its pumps and fans in a minute. In every fifth a pump is missed by bad luck.
func cut(part int32, minute int64) []page.Slot {
	at := start + minute*step
	slot := page.Slot{Region: "eu", At: at, Interval: step, Whole: true, Expected: perShard, Members: perShard}
	slot.Heard = perShard
	fans, pumps := slot, slot
	fans.Cohort, pumps.Cohort = "fans", "pumps"
	missing := func(minute int64) int {
		switch {
		case minute >= lost && minute < found:
			return 12
		case minute%5 == int64(part):
			return 1
		}
		return 0
	}
	now, before := missing(minute), missing(minute-1)
	pumps.Missing, pumps.Heard = uint32(now), uint32(perShard-now)
	if now == 12 {
		pumps.Power = 12
	}
	for i := before; i < now; i++ {
		g := page.Gone{ID: fmt.Sprintf("pump-%d-%02d", part, i), No: uint32(100*int(part) + i + 1), Since: at - 2*step + int64(i)*100, Every: step, Phi: 50_000}
		if now == 12 {
			g.Marks = page.MarkPower
		}
		pumps.Gone = append(pumps.Gone, g)
		pumps.Fresh++
	}
	for i := now; i < before; i++ {
		pumps.Back = append(pumps.Back, uint32(100*int(part)+i+1))
		pumps.Returned++
		if before == 12 {
			pumps.PowerBack++
		}
	}
	return []page.Slot{fans, pumps}
}

// story is some hours of two cohorts, in one of which the power fails for ten minutes. Somebody takes it on.
func story(t testing.TB) *history {
	h := &history{}
	for i := range int64(end) {
		if i == lost+5 {
			s, err := New(parts, DefaultSettings())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range readFrom(h, s).all(t, s) {
				h.say(t, start+i*step, "ada", event.IncidentAcknowledged{Incident: string(o.Key)})
			}
		}
		for p := range int32(parts) {
			pg := &page.Page{Part: p, Until: start + i*step}
			if p < 2 {
				pg.Slots = cut(p, i)
			}
			h.add(pg)
		}
	}
	return h
}

// TestTheGoldenStory holds the records of a small story to what they were: a difference is another detector, and wants
// another version.
func TestTheGoldenStory(t *testing.T) {
	h := story(t)
	s, err := New(parts, DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	last := event.Incident{}
	for _, o := range readFrom(h, s).all(t, s) {
		i, err := event.DecodeIncident(o.Headers, o.Value)
		if err != nil {
			t.Fatal(err)
		}
		// Which constants it was is no part of the story.
		i.Detector = strings.TrimSuffix(i.Detector, s.hash)
		value, _, err := i.Encode()
		if err != nil {
			t.Fatal(err)
		}
		minute := func(at int64) int64 { return (at - start) / step }
		fmt.Fprintf(&got, "%d %s %s revision %d at minute %d, since %d, resolved %d\n", o.N, i.Type(), i.ID, i.Revision, minute(i.At), minute(i.Since), max(-1, minute(i.ResolvedAt)))
		fmt.Fprintf(&got, "  %s, cause %s: %s\n  %s\n  by %q, %s, %s\n", i.Severity, i.Cause, i.Title, i.Why, i.Acked.Who, i.Detector, i.Runbook)
		for _, n := range append(i.Numbers, i.Thresholds...) {
			fmt.Fprintf(&got, "  %s %d %s\n", n.Name, n.Micro, n.Unit)
		}
		fmt.Fprintf(&got, "  %d of %d devices, evidence %v\n  sha256 %x\n", len(i.Devices), i.Count, i.Evidence, sha256.Sum256(value))
		last = i
	}
	if last.State != event.IncidentResolved || last.Cause != incident.CausePower || last.Acked.Who != "ada" {
		t.Errorf("the story's end is %+v", last)
	}
	const file = "testdata/story.golden"
	if *anew {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		for i, line := range strings.Split(got.String(), "\n") {
			if all := strings.Split(string(want), "\n"); i >= len(all) || all[i] != line {
				t.Fatalf("line %d is %q\nof\n%s\nIf that is meant, raise the version in settings.go and run this with -update", i+1, line, got.String())
			}
		}
		t.Fatal("the golden story is longer")
	}
}
