package update

import (
	"bytes"
	"errors"
	"testing"

	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
	"muster.dev/services/anomaly/state/statetest"
)

func TestAStateThatIsCutShortIsRefused(t *testing.T) {
	f := wild(t, false, 1)
	for _, r := range []struct {
		from statetest.Keeper
		to   func() statetest.Keeper
	}{
		{f.arms, func() statetest.Keeper { return NewArms(f.census, DefaultSettings()) }},
		{f.judge, func() statetest.Keeper { return NewRollouts(DefaultSettings()) }},
	} {
		var b bytes.Buffer
		if err := r.from.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		for n := 0; n < len(whole); n += 1 + len(whole)/500 {
			if err := r.to().Restore(bytes.NewReader(whole[:n])); !errors.Is(err, state.ErrDamaged) {
				t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
			}
		}
	}
}

// Whatever a damaged state says, what is read of it can be gone on with or is refused.
func FuzzRestore(f *testing.F) {
	w := wild(f, false, 1)
	for _, r := range []statetest.Keeper{w.arms, w.judge} {
		var b bytes.Buffer
		if err := r.Snapshot(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		a := NewArms(w.census, DefaultSettings())
		if a.Restore(bytes.NewReader(p)) == nil && len(a.rollouts) < 4 {
			for i := range int32(20) {
				for _, x := range a.rollouts {
					a.Heard(i, x.closed+1, []byte("2"))
					a.Metric(i, x.closed+1, []byte("heap"), 1)
				}
			}
			for _, x := range a.rollouts {
				if x.closed > 0 && x.closed < 1<<50 {
					a.Tick(x.closed + x.started.Design.TickMS)
				}
			}
		}
		j := NewRollouts(DefaultSettings())
		if j.Restore(bytes.NewReader(p)) == nil {
			for _, x := range j.rollouts {
				j.Cut(x.on.at+1, []page.Arm{{Rollout: x.started.Rollout, Stage: x.stage, Stratum: "0|m", At: x.on.at + 1, RiskT: 9, RiskC: 9, FailT: 1}}, nil)
			}
		}
	})
}
