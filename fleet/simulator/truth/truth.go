package truth

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Format is the version of the file.
const Format = 1

// Header is the first line.
type Header struct {
	Truth    int    `json:"truth"` // Format
	Scenario string `json:"scenario"`
	SHA256   string `json:"sha256"` // of the scenario's text, hex
	Seed     uint64 `json:"seed"`
	Begins   Time   `json:"begins"`
	Until    Time   `json:"until"`
	Devices  int    `json:"devices"` // that there ever are
}

// Kinds of lines, beside those of the scenario's faults, which are named as there. What each says in detail stands in docs/writing-a-scenario.md.
const (
	Enrolled     = "enrolled"      // device; detail: region, site, firmware, replaces
	Left         = "left"          // device; detail: cause (churn, replaced, retired, revoked)
	NeverHeard   = "never-heard"   // device
	Silent       = "silent"        // device, at to until: it delivered nothing; detail: cause
	Boot         = "boot"          // device; detail: reason, boot, firmware
	Crash        = "crash"         // device; detail: reason, firmware
	BootLoop     = "boot-loop"     // device, at to until; detail: crashes, firmware
	OSErrors     = "os-errors"     // device, at to until; detail: code, per_day, firmware
	Assigned     = "assigned"      // device; detail: rollout, arm (treated, control), stage
	Update       = "update"        // device, at to until; detail: rollout, stage, from, to, result
	Postponed    = "postponed"     // device, at to until; detail: rollout, stage, to
	Leak         = "leak"          // device, at to until; detail: metric, per_day, firmware
	Drain        = "drain"         // device, at to until; detail: factor, firmware
	Shift        = "shift"         // device, at to until; detail: metric, by, firmware
	BatteryLow   = "battery-low"   // device, at to until: the last two per cent
	ClockWrong   = "clock"         // device, at to until; detail: by_ms, cause
	Knocking     = "knocking"      // device, at to until; detail: every_ms
	Rollout      = "rollout"       // cohort, at to until; detail: rollout, firmware, stages, whole_sites
	Stage        = "stage"         // cohort, at to until; detail: rollout, stage, firmware, share
	SiteOutage   = "site-outage"   // cohort, at to until; detail: site
	Expected     = "expected"      // cohort, at to until, a day: Count in detail
	SleepPlanned = "planned-sleep" // cohort; detail: every_ms, from_ms, for_ms
)

// Causes of silence.
const (
	CausePower   = "power"   // the device has none
	CauseBattery = "battery" // it is empty
	CauseRadio   = "radio"   // the radio gets nothing through
	CauseUpdate  = "update"  // what the device runs made it silent
	CauseHang    = "hang"    // the device is on and says nothing; nobody can see why
	CauseNever   = "never"   // it was enrolled and never said a word
)

// Line is one thing that happened.
type Line struct {
	At     Time           `json:"at"`
	Until  Time           `json:"until,omitzero"` // absent: it is a moment
	Kind   string         `json:"kind"`
	Cohort string         `json:"cohort,omitempty"`
	Device string         `json:"device,omitempty"`
	Fault  int            `json:"fault,omitempty"`   // number of the scenario's fault that it comes from, from 1
	Count  int            `json:"count,omitempty"`   // how many devices
	IDs    []string       `json:"devices,omitempty"` // which, up to MostIDs
	Detail map[string]any `json:"detail,omitempty"`
}

// MostIDs bounds the names in one line. Where there are more devices, Count alone says how many.
const MostIDs = 1_000

// Time is an instant in Unix milliseconds that reads as RFC 3339. Its zero value is no time.
type Time int64

const layout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the time.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(time.UnixMilli(int64(t)).UTC().AppendFormat([]byte{}, `"`+layout+`"`)), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Time) UnmarshalJSON(p []byte) error {
	at, err := time.Parse(`"`+layout+`"`, string(p))
	if err != nil {
		return fmt.Errorf("time %s: want %s", p, layout)
	}
	*t = Time(at.UnixMilli())
	return nil
}

// Sort puts lines in the order of the file: by time, then by what they say.
func Sort(lines []Line) {
	slices.SortStableFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Cohort, b.Cohort), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Until, b.Until))
	})
}

// Write sorts lines and writes them after the header.
func Write(w io.Writer, h Header, lines []Line) error {
	Sort(lines)
	h.Truth = Format
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(h); err != nil {
		return fmt.Errorf("writing the truth: %w", err)
	}
	for i := range lines {
		if err := enc.Encode(&lines[i]); err != nil {
			return fmt.Errorf("writing the truth: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the truth: %w", err)
	}
	return nil
}

// Read reads a file of truth.
func Read(r io.Reader) (Header, []Line, error) {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var h Header
	if err := dec.Decode(&h); err != nil {
		return h, nil, fmt.Errorf("truth, header: %w", err)
	}
	if h.Truth != Format {
		return h, nil, fmt.Errorf("truth: format %d is not known here, only %d", h.Truth, Format)
	}
	var lines []Line
	for {
		var l Line
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			return h, lines, nil
		}
		if err != nil {
			return h, nil, fmt.Errorf("truth, line %d: %w", len(lines)+2, err)
		}
		lines = append(lines, l)
	}
}
