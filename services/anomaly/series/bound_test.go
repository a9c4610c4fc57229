package series

import (
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

func TestACalmIsOneIncidentHoweverItsSensorsGetThere(t *testing.T) {
	for _, same := range []bool{true, false} {
		p, open, ever := NewPeers(DefaultSettings()), map[event.Subject]incident.Signal{}, map[event.Subject]bool{}
		p.Cut(begins, []page.Finding{count("north", "wind", 0, 10)})
		cut := func(at int64, findings []page.Finding) {
			openOf(open, p.Cut(at, findings))
			for s := range open {
				ever[s] = true
			}
		}
		at, all := begins+day, []page.Finding(nil)
		for d := range 6 {
			f := finding("flat-line", "wind", d, begins+day-4*hour+int64(d)*40*minute)
			if f.Value, f.Reporting = 0, 3; !same {
				f.Value = int64(d+1) * 1e6
			}
			all = append(all, f)
			cut(at, []page.Finding{f})
			for range 3 {
				at += 5 * minute
				cut(at, nil)
			}
		}
		if same && (len(ever) != 1 || len(open) != 1) || !same && len(ever) < 2 {
			t.Errorf("at the same value: %v: %v", same, ever)
		}
		for _, f := range all {
			at += minute
			cut(at, []page.Finding{ended(f, at)})
		}
		if len(open)+p.items != 0 {
			t.Errorf("%v is left", open)
		}
	}
}
