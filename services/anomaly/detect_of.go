package anomaly

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

// DetectOf is the section that gives these settings: the other way of Settings.
func DetectOf(s shard.Settings, j judge.Settings) Detect {
	si, up, se, sp, sec, in := s.Silence, s.Update, s.Series, s.Spend, s.Security, j.Incident
	d := Detect{
		Lateness: dur(s.Lateness),
		Silence: Silence{
			False: si.False, Missed: si.Missed, Grace: float64(si.GracePermille) / 1000, Reconnect: dur(si.Reconnect),
			PowerFor: dur(si.PowerFor), UpdatedFor: dur(si.UpdatedFor), LowPercent: si.LowPercent, LowMillivolts: si.LowMillivolts,
			WeakDBm: si.WeakDBm, FallenDB: si.FallenDB, StalledFor: dur(si.StalledFor),
		},
		Update:    Update{SilentIntervals: up.SilentIntervals, SilentAtLeast: dur(up.SilentAtLeast), Rollouts: up.Rollouts},
		Series:    Series{Budget: se.Series, Threshold: se.Threshold, False: se.False},
		Spend:     Spend{Currency: sp.Currency, PerMillion: sp.PerMillion, PerGB: sp.PerGB, Rise: sp.Rise},
		Security:  Security{CloneSigns: sec.CloneSigns, Knocks: sec.Knocks, Attempts: sec.Attempts, Enrolments: sec.Enrolments, Times: sec.Times},
		Incidents: Incidents{Runbooks: in.Runbooks, Quiet: in.Quiet, Again: in.Again, MaxOpen: in.MaxOpen},
	}
	for _, off := range []struct {
		name string
		is   bool
	}{{"silence", s.Off.Silence}, {"update", s.Off.Update}, {"series", s.Off.Series}, {"spend", s.Off.Spend}, {"security", s.Off.Security}} {
		if off.is {
			d.Off = append(d.Off, off.name)
		}
	}
	return d
}

// With is the section with one key changed, as silence.missed, to a value as it stands in the configuration.
func (d Detect) With(key, value string) (Detect, error) {
	parts := strings.Split(key, ".")
	var text bytes.Buffer
	for depth, name := range parts {
		if name == "" || strings.ContainsAny(name, " :\n\t#{}[]&*!|>'\"%@`") {
			return d, fmt.Errorf("%.80q is no key", key)
		}
		text.WriteString(strings.Repeat("  ", depth) + name + ":")
		if depth < len(parts)-1 {
			text.WriteByte('\n')
		}
	}
	text.WriteString(" " + value + "\n")
	dec := yaml.NewDecoder(&text)
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("%.80q: %w", key, err)
	}
	return d, d.validate()
}
