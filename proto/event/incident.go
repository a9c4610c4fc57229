package event

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"muster.dev/proto/batch"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
)

// The ce_types of the detector's log.
const (
	TypeIncidentOpened   = "muster.incident.opened.v1"
	TypeIncidentUpdated  = "muster.incident.updated.v1"
	TypeIncidentResolved = "muster.incident.resolved.v1"
)

// Bounds of an incident and of a verdict.
const (
	MaxMembers  = 1_000
	MaxNumbers  = 64 // numbers, and thresholds, and kinds of failure
	MaxEvidence = 1_024
	MaxTitle    = 255 // bytes
	MaxUnit     = 32  // bytes
	MaxDetector = 128 // bytes
)

// IncidentKind says which detector an incident is from.
type IncidentKind string

// The kinds of incidents.
const (
	SilentCohort     IncidentKind = "silent-cohort"
	Pipeline         IncidentKind = "pipeline" // we were silent, and nobody else
	UpdateFailure    IncidentKind = "update-failure"
	TelemetryAnomaly IncidentKind = "telemetry"
	Spend            IncidentKind = "spend"
	Security         IncidentKind = "security"
)

// States and severities of an incident.
const (
	IncidentOpen     = "open"
	IncidentResolved = "resolved"

	SeverityCritical = "critical"
	SeverityWarning  = "warning"
	SeverityInfo     = "info"
)

// Incident is a record of muster.incidents.v1: all that holds for an incident from this record on. Its key is the id.
// A number in micro is times 1e6. All times are Unix ms of event time.
type Incident struct {
	N          uint64       `msgpack:"n"`  // 1, 2, 3, ... over all records of the topic, without gaps
	ID         string       `msgpack:"id"` // i, then 12 of a-z 2-7
	State      string       `msgpack:"state"`
	Kind       IncidentKind `msgpack:"kind"`
	Severity   string       `msgpack:"severity"`
	Title      string       `msgpack:"title"`
	Cause      string       `msgpack:"cause"` // a name; empty where nothing is known
	Subject    Subject      `msgpack:"subject"`
	Since      int64        `msgpack:"since"` // when it began
	At         int64        `msgpack:"at"`    // when this was said
	ResolvedAt int64        `msgpack:"resolved_at"`
	Revision   uint32       `msgpack:"revision"` // 1, 2, 3, ... of this incident
	Reopened   uint32       `msgpack:"reopened"` // how often
	Count      uint32       `msgpack:"count"`    // devices that it is about; Devices may name fewer
	Devices    []Member     `msgpack:"devices"`  // worst first
	Numbers    []Number     `msgpack:"numbers"`  // behind the verdict, in order of name
	Thresholds []Number     `msgpack:"thresholds"`
	Evidence   []Range      `msgpack:"evidence"`
	Detector   string       `msgpack:"detector"` // which, and with which constants
	Runbook    string       `msgpack:"runbook"`  // URL
	Acked      Ack          `msgpack:"acked"`    // zero: by nobody
	Why        string       `msgpack:"why"`      // a sentence
}

// Subject says what an incident is about. What does not apply is empty.
type Subject struct {
	Cohort  string `msgpack:"cohort"`
	Region  string `msgpack:"region"`
	Gateway string `msgpack:"gateway"`
	Rollout string `msgpack:"rollout"`
	Metric  string `msgpack:"metric"`
	Device  string `msgpack:"device"`
}

// Member is a device that an incident is about.
type Member struct {
	ID    string `msgpack:"id"`
	No    uint32 `msgpack:"no"`
	Since int64  `msgpack:"since"`
	Marks uint8  `msgpack:"marks"` // bits: 1 power, 2 radio, 4 updated, 8 never heard
}

// Number is one of the numbers behind a verdict, or a threshold that it was held against.
type Number struct {
	Name  string `msgpack:"name"`
	Micro int64  `msgpack:"micro"`
	Unit  string `msgpack:"unit"`
}

// Range is a stretch of a partition, To exclusive.
type Range struct {
	Topic string `msgpack:"topic"`
	Part  int32  `msgpack:"part"`
	From  int64  `msgpack:"from"`
	To    int64  `msgpack:"to"`
}

// Ack is who has taken an incident on, and when.
type Ack struct {
	Who string `msgpack:"who"`
	At  int64  `msgpack:"at"`
}

// Type is the ce_type: it follows from the state and the revision.
func (i Incident) Type() string {
	switch {
	case i.State == IncidentResolved:
		return TypeIncidentResolved
	case i.Revision == 1:
		return TypeIncidentOpened
	}
	return TypeIncidentUpdated
}

// Encode gives a record's value and headers. It fails with what a reader would refuse; numbers are put in order.
func (i Incident) Encode() (value []byte, headers []Header, err error) {
	i.Numbers, i.Thresholds = inOrder(i.Numbers), inOrder(i.Thresholds)
	i.normal()
	if err := i.validate(); err != nil {
		return nil, nil, err
	}
	return encodeFinding(i.Type(), i.N, i.At, writtenIncident{Version, i})
}

// DecodeIncident reads a record. A refusal is a *batch.Error; of a later version its code is UnknownVersion.
func DecodeIncident(headers []Header, value []byte) (Incident, error) {
	var in writtenIncident
	if err := decodeFinding(headers, value, &in, &in.V, TypeIncidentOpened, TypeIncidentUpdated, TypeIncidentResolved); err != nil {
		return Incident{}, err
	}
	i := in.Incident
	i.normal()
	if err := i.validate(); err != nil {
		return Incident{}, err
	}
	if said := TypeOf(headers); said != i.Type() {
		return Incident{}, refuse(batch.Malformed, record.HeaderType, "is "+said+", and the incident is "+i.Type(), 0)
	}
	return i, nil
}

// writtenIncident puts the version beside an incident's own keys.
type writtenIncident struct {
	V uint64 `msgpack:"v"`
	Incident
}

// TypeOf is the ce_type that a record says, or empty.
func TypeOf(headers []Header) (ceType string) {
	for _, h := range headers {
		if h.Key == record.HeaderType {
			ceType = string(h.Value)
		}
	}
	return ceType
}

func encodeFinding(ceType string, n uint64, at int64, body any) ([]byte, []Header, error) {
	value, err := encode(body)
	if err != nil {
		return nil, nil, fmt.Errorf("write %s: %w", ceType, err)
	}
	if len(value) > MaxRegistryValue {
		return nil, nil, refuse(batch.TooLarge, "value", "has "+strconv.Itoa(len(value))+" bytes", MaxRegistryValue)
	}
	return value, cloudEvent(ceType, "/muster/anomaly", strconv.FormatUint(n, 10), at), nil
}

func decodeFinding(headers []Header, value []byte, into any, v *uint64, types ...string) error {
	if said := TypeOf(headers); !slices.Contains(types, said) {
		return refuse(batch.Malformed, record.HeaderType, fmt.Sprintf("is %.80q: the record is another", said), 0)
	}
	if err := decode(value, into); err != nil {
		return err
	}
	if *v != Version {
		return refuse(batch.UnknownVersion, "v", strconv.FormatUint(*v, 10)+" is not known here", Version)
	}
	return nil
}

func inOrder(numbers []Number) []Number {
	byName := func(a, b Number) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(numbers, byName) {
		return numbers
	}
	numbers = slices.Clone(numbers)
	slices.SortStableFunc(numbers, byName)
	return numbers
}

// normal makes what was left out and what was written as nothing the same.
func (i *Incident) normal() {
	i.Devices, i.Evidence = orNone(i.Devices), orNone(i.Evidence)
	i.Numbers, i.Thresholds = orNone(i.Numbers), orNone(i.Thresholds)
}

func orNone[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// IncidentID says whether s can be the id of an incident: i, then 12 of a-z 2-7.
func IncidentID(s string) bool {
	if len(s) != 13 || s[0] != 'i' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

func checkIncident(field, s string) *batch.Error {
	if !IncidentID(s) {
		return bad(field, strconv.Quote(s[:min(len(s), 64)])+" must be i, then 12 of a-z 2-7")
	}
	return nil
}

func (i *Incident) validate() *batch.Error {
	if err := checkIncident("id", i.ID); err != nil {
		return err
	}
	switch {
	case i.N == 0 || i.N > batch.MaxSeq:
		return refuse(batch.Unprocessable, "n", "must count from 1", batch.MaxSeq)
	case i.State != IncidentOpen && i.State != IncidentResolved:
		return bad("state", "must be open or resolved")
	case (i.State == IncidentResolved) != (i.ResolvedAt != 0):
		return bad("resolved_at", "must be there if the incident is resolved, and only then")
	case i.Severity != SeverityCritical && i.Severity != SeverityWarning && i.Severity != SeverityInfo:
		return bad("severity", "must be critical, warning or info")
	case i.Title == "":
		return bad("title", "is missing")
	case i.Revision == 0:
		return bad("revision", "must count from 1")
	case i.Acked.Who == "" && i.Acked.At != 0:
		return bad("acked", "is by nobody")
	}
	if i.Cause != "" {
		if err := checkName("cause", i.Cause); err != nil {
			return err
		}
	}
	for _, t := range []instant{{"since", i.Since}, {"at", i.At}, {"resolved_at", i.ResolvedAt}, {"acked.at", i.Acked.At}} {
		if err := t.validate(); err != nil {
			return err
		}
	}
	s := i.Subject
	for _, text := range []named{
		{"title", i.Title}, {"subject.cohort", s.Cohort}, {"subject.region", s.Region}, {"subject.gateway", s.Gateway}, {"subject.rollout", s.Rollout},
		{"subject.metric", s.Metric}, {"subject.device", s.Device}, {"runbook", i.Runbook}, {"acked.who", i.Acked.Who}, {"why", i.Why},
	} {
		limit := batch.MaxText
		if text.field == "title" {
			limit = MaxTitle
		}
		if err := text.text(limit); err != nil {
			return err
		}
	}
	if err := checkNumbers("numbers", i.Numbers); err != nil {
		return err
	}
	if err := checkNumbers("thresholds", i.Thresholds); err != nil {
		return err
	}
	if err := checkFinding(i.Devices, i.Evidence, i.Detector); err != nil {
		return err
	}
	return checkName("kind", string(i.Kind))
}

// named is a text and what it is called in a refusal.
type named struct{ field, said string }

func (n named) text(limit int) *batch.Error {
	if len(n.said) > limit {
		return refuse(batch.Unprocessable, n.field, "is too long", int64(limit))
	}
	return checkText(n.field, n.said)
}

// instant is a time and what it is called in a refusal.
type instant struct {
	field string
	ms    int64
}

func (t instant) validate() *batch.Error {
	if t.ms < 0 || t.ms > batch.MaxTime {
		return refuse(batch.Unprocessable, t.field, "must be Unix milliseconds", batch.MaxTime)
	}
	return nil
}

func checkNumbers(field string, numbers []Number) *batch.Error {
	if len(numbers) > MaxNumbers {
		return refuse(batch.Unprocessable, field, "are too many", MaxNumbers)
	}
	for i, n := range numbers {
		if err := checkName(field+".name", n.Name); err != nil {
			return err
		}
		if i > 0 && n.Name < numbers[i-1].Name {
			return bad(field, "must be in order of name")
		}
		if err := (named{field + ".unit", n.Unit}).text(MaxUnit); err != nil {
			return err
		}
	}
	return nil
}

// checkFinding checks what incidents and verdicts have both.
func checkFinding(devices []Member, evidence []Range, detector string) *batch.Error {
	switch {
	case len(devices) > MaxMembers:
		return refuse(batch.Unprocessable, "devices", "are too many to be named", MaxMembers)
	case len(evidence) > MaxEvidence:
		return refuse(batch.Unprocessable, "evidence", "has too many ranges", MaxEvidence)
	case detector == "":
		return bad("detector", "is missing")
	}
	for _, d := range devices {
		if _, err := identity.ParseDevice(d.ID); err != nil {
			return bad("devices.id", err.Error())
		}
		if err := (instant{"devices.since", d.Since}).validate(); err != nil {
			return err
		}
	}
	for _, r := range evidence {
		switch {
		case r.Topic == "" || len(r.Topic) > 249:
			return bad("evidence.topic", "must be a topic's name")
		case r.Part < 0 || r.From < 0 || r.To < r.From:
			return bad("evidence", "must go from one offset of a partition to the same or a later one")
		}
		if err := checkText("evidence.topic", r.Topic); err != nil {
			return err
		}
	}
	return named{"detector", detector}.text(MaxDetector)
}
