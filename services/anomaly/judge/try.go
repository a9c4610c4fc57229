package judge

import (
	"bytes"
	"fmt"

	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/update"
)

// Try puts other settings in the place of those that the state was made with, and keeps all that was learnt: it answers what
// would have been said. What it says has no place in the log; Adopt is for that.
func (s *State) Try(settings Settings) error {
	if err := settings.Validate(); err != nil {
		return err
	}
	hash, err := settings.Hash()
	if err != nil || hash == s.hash {
		return err
	}
	was := s.keepers()
	s.silence, s.update, s.security = silence.NewCohorts(settings.Silence), update.NewRollouts(settings.Update), security.NewJudge(settings.Security)
	s.series, s.spend = series.NewPeers(settings.Series), spend.NewForecasts(settings.Spend)
	s.book = incident.NewBook(settings.Incident, s.ranges)
	s.settings, s.hash = settings, hash
	for i, k := range s.keepers() {
		var kept bytes.Buffer
		if err := was[i].Snapshot(&kept); err != nil {
			return fmt.Errorf("take what was learnt over: %w", err)
		}
		if err := k.Restore(&kept); err != nil {
			return fmt.Errorf("take what was learnt over: %w", err)
		}
	}
	return nil
}
