package judge

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/page"
)

// Whatever pages say, the five detectors and the book stay bounded, each record can be written, and the state restored.
func TestAHostileFoldStaysBounded(t *testing.T) {
	const subjects = 1_000
	s, err := New(1, DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	strange := []string{"", "pumps", "No Name", "a\nb", "\xff\xfe", "pump-1", string(bytes.Repeat([]byte("x"), page.MaxText))}
	name := func(i int) string {
		if i%10 == 0 {
			return strange[rng.IntN(len(strange))]
		}
		return fmt.Sprintf("c-%d", i)
	}
	number := func() int64 {
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1e6, rng.Int64()}[rng.IntN(7)]
	}
	count := func() uint32 { return []uint32{0, 1, 20, 5_000, 50_000}[rng.IntN(5)] }
	records := 0
	for n := range int64(40) {
		at := start + n*step
		p := &page.Page{N: uint64(n + 1), From: number(), Until: at, Telemetry: max(0, number()), Late: rng.Uint64()}
		if n%9 == 8 {
			p.Outages = append(p.Outages, page.Outage{All: rng.IntN(2) == 0, Region: name(10), From: number(), Until: number()})
		}
		for i := range subjects {
			missing := uint32(0)
			if n > 33 {
				missing = 30
			}
			slot := page.Slot{Cohort: fmt.Sprintf("c-%d", i), Region: fmt.Sprintf("r-%d", i%7), At: at, Interval: step, Whole: true, Expected: 30, Members: 30, Missing: missing, Heard: 30 - missing}
			if i%50 == 0 {
				slot = page.Slot{
					Cohort: name(i), Region: name(10), At: at, Interval: number(), Whole: true, Expected: count(), Missing: count(), Never: count(), Members: count(),
					Power: count(), PowerAll: count(), Gone: []page.Gone{{ID: name(i), No: count(), Since: number(), Every: number(), Phi: count(), Marks: 255}}, Back: []uint32{count()},
				}
			}
			p.Slots = append(p.Slots, slot)
			if i%3 == int(n%3) {
				p.Findings = append(p.Findings, page.Finding{
					Kind: []string{"unusual", "flat-line", "rate", "series", "nonsense"}[rng.IntN(5)], Cohort: name(i / 100), Metric: name(i), ID: name(i), No: count(), At: at, Score: number(), Value: number(),
					Usual: number(), Over: rng.IntN(4) == 0, Reporting: count(),
				})
				p.Signs = append(p.Signs, page.Sign{
					Kind: []string{"clone", "knocking", "enrolment-burst", "two-certificates", "nonsense"}[rng.IntN(5)], ID: name(i), No: count(), Cohort: name(i), At: at, Count: rng.Uint64(), Detail: name(10),
				})
				p.Volumes = append(p.Volumes, page.Volume{Cohort: name(i), Metric: name(i), Hour: at / 3_600_000 * 3_600_000, Until: at, Values: rng.Uint64(), Bytes: rng.Uint64()})
			}
			if i%100 == 0 {
				p.Arms = append(p.Arms, page.Arm{Rollout: name(i), Stage: uint8(i), Stratum: name(i), At: at, RiskT: count(), RiskC: count(), FailT: count(), FailC: count(), ExposureMS: number()})
				p.Ranks = append(p.Ranks, page.Rank{Rollout: name(i), Stage: 1, Metric: name(i), ID: name(i), At: at, Micro: number()})
			}
		}
		if err := s.Page(p, 2*n); err != nil {
			t.Fatal(err)
		}
		for _, o := range s.Out() {
			records++
			if event.TypeOf(o.Headers) == event.TypeVerdict {
				continue
			}
			if _, err := event.DecodeIncident(o.Headers, o.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := s.Faults(); n != 0 {
		t.Errorf("%d records could not be written: %v", n, err)
	}
	most := DefaultSettings().Incident.MaxOpen + 1
	for kind := range rooms {
		if open := s.Open(kind); open > most {
			t.Errorf("%d incidents of kind %s are open", open, kind)
		}
		t.Logf("%s: %d open", kind, s.Open(kind))
	}
	if records > 10_000 {
		t.Errorf("%d records", records)
	}
	var one, two bytes.Buffer
	if err := s.Snapshot(&one); err != nil {
		t.Fatal(err)
	}
	back, err := Open(bytes.NewReader(one.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Snapshot(&two); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("what was restored is another, %v", err)
	}
	t.Logf("%d records, a snapshot of %d bytes", records, one.Len())
}
