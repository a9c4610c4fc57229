package follow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"muster.dev/proto/event"
)

// A judge whose snapshots are gone takes over what its topic has open: what it finds again goes on, numbered as ever.
func TestAJudgeThatBeginsWithNothingLeavesNoIncidentOpenForEver(t *testing.T) {
	for _, c := range []struct {
		name string
		back time.Duration
	}{{"all of the log is there", 0}, {"the log begins after the silence did", time.Minute}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, 40, 10*time.Second)
			m := f.join(f.config(), "1")
			f.live(6*time.Minute, all)
			f.live(4*time.Minute, few)
			var was event.Incident
			f.until("the silence is told", func() error {
				for _, in := range f.incidents() {
					if in.Kind == event.SilentCohort && in.State == event.IncidentOpen {
						was = in
						return nil
					}
				}
				f.live(10*time.Second, few)
				return errNotYet
			})
			m.end()
			f.rewrite(JudgePlace(parts), Head{})
			cfg := f.config()
			cfg.Back = c.back
			m = f.join(cfg, "1")
			f.until("the judge begins", func() error {
				if testutil.ToFloat64(m.m.restores.WithLabelValues(stageJudge, "nothing")) == 0 {
					return errNotYet
				}
				return nil
			})
			f.live(70*time.Minute, all)
			f.until("it is resolved", func() error {
				in := f.incidents()[was.ID]
				if in.State != event.IncidentResolved {
					return fmt.Errorf("%s is %s at revision %d: %s", in.ID, in.State, in.Revision, in.Why)
				}
				return nil
			})
			got := f.incidents()
			if in := got[was.ID]; in.Revision <= was.Revision || !strings.HasPrefix(in.Why, "nothing of it was seen for") {
				t.Errorf("revision %d after %d: %s", in.Revision, was.Revision, in.Why)
			}
			for _, in := range got {
				if in.State == event.IncidentOpen {
					t.Errorf("%s %s is open: %s", in.ID, in.Kind, in.Why)
				}
			}
		})
	}
}
