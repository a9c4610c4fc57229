package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Finding is one thing that is not as it should be, for a person who was woken by it.
type Finding struct {
	Part    string    `json:"part"`
	Says    string    `json:"says"`
	Since   time.Time `json:"since,omitzero"` // of alarms, when the last one was; zero where nobody knows
	Runbook string    `json:"runbook"`        // in the repository
}

// The pages that findings name.
const (
	runbooks      = "docs/runbooks/"
	runbookIndex  = runbooks + "README.md"
	runbookLag    = runbooks + "data-lag.md"
	runbookAlarm  = runbooks + "sink-alarm.md"
	runbookDisk   = runbooks + "disk-full.md"
	runbookTables = runbooks + "rebuild.md"
	runbookDetect = runbooks + "detector.md"
	runbookTold   = runbooks + "delivery-fails.md"
)

// runbookOf is the page for a part that is not ready.
func runbookOf(part, reason string) string {
	switch {
	case strings.Contains(reason, "disk: "), strings.Contains(reason, "the log cannot be written"), strings.Contains(reason, "NOT_ENOUGH_SPACE"):
		return runbookDisk
	case strings.Contains(reason, "UNKNOWN_TABLE"):
		return runbookTables
	case part == Anomaly:
		return runbookDetect
	case part == Registry, part == Fleet, part == Retention:
		return runbookIndex
	}
	return runbookLag
}

// Bounds of what a part that calls itself ready may say of itself. A plan may wait 30 s for an insert in doubt, and a
// pass of the roll-ups begins every minute.
const (
	planLimit = 20 * time.Second
	passLimit = 10 * time.Minute
	tellLimit = 5 * time.Minute
)

// watched are the findings that a ready part's metrics, and its log, hold.
var watched = map[string]func(m metrics, log string, now time.Time) []Finding{
	Sink: func(m metrics, log string, now time.Time) (found []Finding) {
		if open := time.Duration(m.sum("muster_sink_open_plan_seconds") * float64(time.Second)); open > planLimit {
			found = append(found, Finding{Says: "has been storing one plan for " + open.Round(time.Second).String() + ": what devices say now is late", Since: now.Add(-open), Runbook: runbookLag})
		}
		if n := m.sum("muster_sink_parked_partitions"); n > 0 {
			found = append(found, Finding{Says: fmt.Sprintf("%.0f partitions stand still", n), Runbook: runbookAlarm})
		}
		if kinds := m.by("muster_sink_alarms_total", "kind"); len(kinds) > 0 {
			last, at := lastAlarm(log)
			found = append(found, Finding{Says: "has alarmed since it started: " + strings.Join(kinds, ", ") + last, Since: at, Runbook: runbookAlarm})
		}
		return found
	},
	Retention: func(m metrics, _ string, now time.Time) []Finding {
		last := m.sum("muster_rollup_last_pass_timestamp_seconds")
		if at := time.Unix(int64(last), 0); last > 0 && now.Sub(at) > passLimit {
			return []Finding{{Says: "the last pass over the roll-ups that succeeded began at " + at.Format("15:04:05"), Since: at, Runbook: runbookLag}}
		}
		return nil
	},
	Anomaly: func(m metrics, _ string, now time.Time) (found []Finding) {
		if n := m.sum("muster_anomaly_parked_partitions"); n > 0 {
			found = append(found, Finding{Says: fmt.Sprintf("%.0f of its partitions stand still: the log and the detector differ", n), Runbook: runbookDetect})
		}
		if late := time.Duration(m.most("muster_anomaly_delivery_oldest_seconds") * float64(time.Second)); late > tellLimit {
			found = append(found, Finding{Says: "has not got rid of an incident for " + late.Round(time.Second).String() + ": a receiver does not take it", Since: now.Add(-late), Runbook: runbookTold})
		}
		return found
	},
	Gateway: func(m metrics, _ string, _ time.Time) []Finding {
		if n := m.sum("muster_roster_failures_total"); n > 0 && m.sum("muster_roster_age_seconds") > 2 {
			return []Finding{{Says: "cannot follow the registry's log", Runbook: runbookLag}}
		}
		return nil
	},
}

// lastAlarm is the last alarm in a sink's log, as the end of a sentence, and its time.
func lastAlarm(log string) (says string, at time.Time) {
	const most = 256 << 10
	f, err := os.Open(log)
	if err != nil {
		return "", at
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // at worst it is older than what is read
	}
	raw, _ := io.ReadAll(f)
	for line := range bytes.Lines(raw) {
		var entry struct {
			Time       time.Time
			Msg, Error string
		}
		if json.Unmarshal(line, &entry) == nil && strings.HasPrefix(entry.Msg, "alarm: ") {
			says, at = "; the last: "+strings.TrimPrefix(entry.Msg, "alarm: "), entry.Time
			if entry.Error != "" {
				says += ": " + entry.Error
			}
		}
	}
	return says, at
}

// metrics are what a process says of itself.
type metrics map[string][]sample

type sample struct {
	labels map[string]string
	value  float64
}

// sum is a metric over its labels.
func (m metrics) sum(name string) (total float64) {
	for _, s := range m[name] {
		total += s.value
	}
	return total
}

// most is the largest of a metric's.
func (m metrics) most(name string) (most float64) {
	for _, s := range m[name] {
		most = max(most, s.value)
	}
	return most
}

// by lists the values of a label for which a counter is not 0.
func (m metrics) by(name, label string) (found []string) {
	for _, s := range m[name] {
		if s.value > 0 {
			found = append(found, fmt.Sprintf("%.0f of kind %s", s.value, s.labels[label]))
		}
	}
	return found
}

// ask reads the gauges and counters of the process behind an ops address.
func ask(ctx context.Context, ops string) (metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // a kept connection would outlive the process behind it
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	all := metrics{}
	for name, f := range families {
		for _, m := range f.Metric {
			s := sample{labels: map[string]string{}, value: m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()} // it is one of them
			for _, l := range m.Label {
				s.labels[l.GetName()] = l.GetValue()
			}
			all[name] = append(all[name], s)
		}
	}
	return all, nil
}
