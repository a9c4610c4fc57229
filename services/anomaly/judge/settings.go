package judge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/security"
	"muster.dev/services/anomaly/series"
	"muster.dev/services/anomaly/silence"
	"muster.dev/services/anomaly/spend"
	"muster.dev/services/anomaly/update"
)

// version counts the changes of what a detector makes of the same settings.
const version = 4

// Settings are all constants that decide what is told. They are in each snapshot, and their hash in each record.
type Settings struct {
	Silence  silence.Settings
	Update   update.Settings
	Security security.Settings
	Series   series.Settings
	Spend    spend.Settings
	Incident incident.Settings
}

// DefaultSettings are those of the detectors.
func DefaultSettings() Settings {
	return Settings{
		Silence: silence.DefaultSettings(), Update: update.DefaultSettings(), Security: security.DefaultSettings(),
		Series: series.DefaultSettings(), Spend: spend.DefaultSettings(), Incident: incident.DefaultSettings(),
	}
}

// Validate names what cannot be.
func (s Settings) Validate() error {
	return errors.Join(s.Silence.Validate(), s.Update.Validate(), s.Series.Validate(), s.Spend.Validate(), s.Security.Validate(), s.Incident.Validate())
}

// Hash is 8 hex digits of all constants.
func (s Settings) Hash() (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("the detector's settings: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(text, "\nversion %d", version))
	return hex.EncodeToString(sum[:4]), nil
}

// rooms are the detectors' names, by kind of incident.
var rooms = map[event.IncidentKind]string{
	event.SilentCohort: "silence", event.Pipeline: "silence", event.UpdateFailure: "update",
	event.TelemetryAnomaly: "series", event.Spend: "spend", event.Security: "security",
}

// Detector is the id that a record of a kind carries: which detector, in which version, with which constants.
func (s *State) Detector(kind event.IncidentKind) string {
	return fmt.Sprintf("%s-%d-%s", rooms[kind], version, s.hash)
}
