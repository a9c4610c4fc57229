package project

import (
	"encoding/json"
	"strconv"
	"strings"

	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/event"
)

// table is one of those that are written here.
type table string

const (
	incidentRows table = "incident_rows"
	verdictRows  table = "verdict_rows"
	evidenceRows table = "evidence_rows"
)

// incidentBlock is rows of incident_rows.
type incidentBlock struct {
	*native.Block
	n, off                                   *native.Fixed[uint64]
	at, since, resolved, ackedAt             *native.Fixed[int64]
	revision, reopened, affected             *native.Fixed[uint32]
	state, kind, cause, severity             *native.Dictionary
	cohort, region, gateway, rollout, metric *native.Dictionary
	ackedBy, detector, runbook               *native.Dictionary
	id, title, why, device                   *native.Text
	devices, numbers, thresholds, units      *native.Text
}

func newIncidentBlock() *incidentBlock {
	b := &incidentBlock{
		n: native.UInt64("n"), off: native.UInt64("off"),
		at: native.DateTime64("at"), since: native.DateTime64("since"), resolved: native.DateTime64("resolved_at"), ackedAt: native.DateTime64("acked_at"),
		revision: native.UInt32("revision"), reopened: native.UInt32("reopened"), affected: native.UInt32("affected"),
		state: native.LowCardinality("state"), kind: native.LowCardinality("kind"), cause: native.LowCardinality("cause"), severity: native.LowCardinality("severity"),
		cohort: native.LowCardinality("cohort"), region: native.LowCardinality("region"), gateway: native.LowCardinality("gateway"),
		rollout: native.LowCardinality("rollout"), metric: native.LowCardinality("metric"),
		ackedBy: native.LowCardinality("acked_by"), detector: native.LowCardinality("detector"), runbook: native.LowCardinality("runbook"),
		id: native.String("id"), title: native.String("title"), why: native.String("why"), device: native.String("device"),
		devices: native.String("devices"), numbers: native.String("numbers"), thresholds: native.String("thresholds"), units: native.String("units"),
	}
	b.Block = native.NewBlock(b.n, b.id, b.at, b.state, b.kind, b.cause, b.severity, b.title, b.why, b.cohort, b.region, b.gateway, b.rollout, b.metric, b.device,
		b.since, b.resolved, b.revision, b.reopened, b.affected, b.devices, b.numbers, b.thresholds, b.units, b.ackedBy, b.ackedAt, b.detector, b.runbook, b.off)
	return b
}

func (b *incidentBlock) add(i *event.Incident, off int64) {
	b.n.Append(i.N)
	b.off.Append(uint64(off))
	b.id.AppendString(i.ID)
	b.at.Append(i.At)
	b.state.AppendString(i.State)
	b.kind.AppendString(string(i.Kind))
	b.cause.AppendString(i.Cause)
	b.severity.AppendString(i.Severity)
	b.title.AppendString(i.Title)
	b.why.AppendString(i.Why)
	b.cohort.AppendString(i.Subject.Cohort)
	b.region.AppendString(i.Subject.Region)
	b.gateway.AppendString(i.Subject.Gateway)
	b.rollout.AppendString(i.Subject.Rollout)
	b.metric.AppendString(i.Subject.Metric)
	b.device.AppendString(i.Subject.Device)
	b.since.Append(i.Since)
	b.resolved.Append(i.ResolvedAt)
	b.revision.Append(i.Revision)
	b.reopened.Append(i.Reopened)
	b.affected.Append(i.Count)
	b.devices.AppendString(members(i.Devices))
	b.numbers.AppendString(numbers(i.Numbers))
	b.thresholds.AppendString(numbers(i.Thresholds))
	b.units.AppendString(units(i.Numbers, i.Thresholds))
	b.ackedBy.AppendString(i.Acked.Who)
	b.ackedAt.Append(i.Acked.At)
	b.detector.AppendString(i.Detector)
	b.runbook.AppendString(i.Runbook)
}

// verdictBlock is rows of verdict_rows.
type verdictBlock struct {
	*native.Block
	n, off                                         *native.Fixed[uint64]
	at, exposure                                   *native.Fixed[int64]
	stage                                          *native.Fixed[uint8]
	final                                          *native.Fixed[bool]
	effect, low, high, smallest                    *native.Fixed[float64]
	eFail, ePass, eAbsolute, eInstall              *native.Fixed[float64]
	eDrawn, eHealth                                *native.Fixed[float64]
	treated, control, failedTreated, failedControl *native.Fixed[uint32]
	drawnTreated, drawnControl                     *native.Fixed[uint32]
	drawnFailedTreated, drawnFailedControl         *native.Fixed[uint32]
	comparedTreated, comparedControl               *native.Fixed[uint32]
	rollout, verdict, detector                     *native.Dictionary
	kinds, devices, incident, why                  *native.Text
}

func newVerdictBlock() *verdictBlock {
	b := &verdictBlock{
		n: native.UInt64("n"), off: native.UInt64("off"), at: native.DateTime64("at"), exposure: native.Int64("exposure_ms"),
		stage: native.UInt8("stage"), final: native.Bool("final"),
		effect: native.Float64("effect"), low: native.Float64("low"), high: native.Float64("high"), smallest: native.Float64("smallest"),
		eFail: native.Float64("e_fail"), ePass: native.Float64("e_pass"), eAbsolute: native.Float64("e_absolute"), eInstall: native.Float64("e_install"),
		eDrawn: native.Float64("e_drawn"), eHealth: native.Float64("e_health"),
		treated: native.UInt32("treated"), control: native.UInt32("control"), failedTreated: native.UInt32("failed_treated"), failedControl: native.UInt32("failed_control"),
		drawnTreated: native.UInt32("drawn_treated"), drawnControl: native.UInt32("drawn_control"),
		drawnFailedTreated: native.UInt32("drawn_failed_treated"), drawnFailedControl: native.UInt32("drawn_failed_control"),
		comparedTreated: native.UInt32("compared_treated"), comparedControl: native.UInt32("compared_control"),
		rollout: native.LowCardinality("rollout"), verdict: native.LowCardinality("verdict"), detector: native.LowCardinality("detector"),
		kinds: native.String("kinds"), devices: native.String("devices"), incident: native.String("incident"), why: native.String("why"),
	}
	b.Block = native.NewBlock(b.n, b.rollout, b.stage, b.at, b.verdict, b.final, b.effect, b.low, b.high, b.smallest, b.eFail, b.ePass, b.eAbsolute, b.eInstall, b.eDrawn, b.eHealth,
		b.treated, b.control, b.failedTreated, b.failedControl, b.drawnTreated, b.drawnControl, b.drawnFailedTreated, b.drawnFailedControl,
		b.comparedTreated, b.comparedControl, b.exposure, b.kinds, b.devices, b.incident, b.detector, b.why, b.off)
	return b
}

func (b *verdictBlock) add(v *event.Verdict, off int64) {
	b.n.Append(v.N)
	b.off.Append(uint64(off))
	b.rollout.AppendString(v.Rollout)
	b.stage.Append(v.Stage)
	b.at.Append(v.At)
	b.verdict.AppendString(v.Verdict)
	b.final.Append(v.Final)
	b.effect.Append(whole(v.Effect))
	b.low.Append(whole(v.Low))
	b.high.Append(whole(v.High))
	b.smallest.Append(whole(v.Smallest))
	b.eFail.Append(whole(v.EFail))
	b.ePass.Append(whole(v.EPass))
	b.eAbsolute.Append(whole(v.EAbsolute))
	b.eInstall.Append(whole(v.EInstall))
	b.eDrawn.Append(whole(v.EDrawn))
	b.eHealth.Append(whole(v.EHealth))
	b.treated.Append(v.Treated)
	b.control.Append(v.Control)
	b.failedTreated.Append(v.FailedTreated)
	b.failedControl.Append(v.FailedControl)
	b.drawnTreated.Append(v.DrawnTreated)
	b.drawnControl.Append(v.DrawnControl)
	b.drawnFailedTreated.Append(v.DrawnFailedTreated)
	b.drawnFailedControl.Append(v.DrawnFailedControl)
	b.comparedTreated.Append(v.ComparedTreated)
	b.comparedControl.Append(v.ComparedControl)
	b.exposure.Append(v.ExposureMS)
	b.kinds.AppendString(kinds(v.Kinds))
	b.devices.AppendString(members(v.Devices))
	b.incident.AppendString(v.Incident)
	b.detector.AppendString(v.Detector)
	b.why.AppendString(v.Why)
}

// whole is a number of millionths.
func whole(micro int64) float64 { return float64(micro) / 1e6 }

// evidenceBlock is rows of evidence_rows.
type evidenceBlock struct {
	*native.Block
	n, off         *native.Fixed[uint64]
	idx            *native.Fixed[uint32]
	incident       *native.Text
	rollout, topic *native.Dictionary
	part           *native.Fixed[int32]
	from, to       *native.Fixed[int64]
}

func newEvidenceBlock() *evidenceBlock {
	b := &evidenceBlock{
		n: native.UInt64("n"), off: native.UInt64("off"), idx: native.UInt32("idx"), incident: native.String("incident"),
		rollout: native.LowCardinality("rollout"), topic: native.LowCardinality("topic"),
		part: native.Int32("part"), from: native.Int64("from_off"), to: native.Int64("to_off"),
	}
	b.Block = native.NewBlock(b.n, b.idx, b.incident, b.rollout, b.topic, b.part, b.from, b.to, b.off)
	return b
}

func (b *evidenceBlock) add(n uint64, incident, rollout string, ranges []event.Range, off int64) {
	for i, r := range ranges {
		b.n.Append(n)
		b.off.Append(uint64(off))
		b.idx.Append(uint32(i))
		b.incident.AppendString(incident)
		b.rollout.AppendString(rollout)
		b.topic.AppendString(r.Topic)
		b.part.Append(r.Part)
		b.from.Append(r.From)
		b.to.Append(r.To)
	}
}

// members is a JSON array of the devices, in their order.
func members(list []event.Member) string {
	b := []byte{'['}
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"id":`...), text(m.ID)...)
		b = strconv.AppendUint(append(b, `,"no":`...), uint64(m.No), 10)
		b = strconv.AppendInt(append(b, `,"since":`...), m.Since, 10)
		b = strconv.AppendUint(append(b, `,"marks":`...), uint64(m.Marks), 10)
		b = append(b, '}')
	}
	return string(append(b, ']'))
}

func kinds(list []event.KindCount) string {
	b := []byte{'['}
	for i, k := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"kind":`...), text(k.Kind)...)
		b = strconv.AppendUint(append(b, `,"treated":`...), uint64(k.Treated), 10)
		b = strconv.AppendUint(append(b, `,"control":`...), uint64(k.Control), 10)
		b = append(b, '}')
	}
	return string(append(b, ']'))
}

// numbers is a JSON object of the numbers by name, with the digits that the record has and no others.
func numbers(list []event.Number) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(text(n.Name))
		b.WriteByte(':')
		b.WriteString(decimal(n.Micro))
	}
	b.WriteByte('}')
	return b.String()
}

// units is a JSON object of the units by name, of those numbers that have one.
func units(lists ...[]event.Number) string {
	var b strings.Builder
	b.WriteByte('{')
	said := map[string]bool{}
	for _, list := range lists {
		for _, n := range list {
			if n.Unit == "" || said[n.Name] {
				continue
			}
			if len(said) > 0 {
				b.WriteByte(',')
			}
			said[n.Name] = true
			b.Write(text(n.Name))
			b.WriteByte(':')
			b.Write(text(n.Unit))
		}
	}
	b.WriteByte('}')
	return b.String()
}

// decimal writes millionths as a number with a point.
func decimal(micro int64) string {
	digits := strconv.FormatInt(micro, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for len(digits) < 7 {
		digits = "0" + digits
	}
	at := len(digits) - 6
	return strings.TrimSuffix(strings.TrimRight(sign+digits[:at]+"."+digits[at:], "0"), ".")
}

func text(s string) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string has a form as JSON
	}
	return raw
}
