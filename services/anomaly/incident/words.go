package incident

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"muster.dev/proto/event"
)

// Causes, by kind of incident.
const (
	CauseRegion  = "region" // of a silent cohort: all of a region, or several cohorts of it
	CausePower   = "power"
	CauseRadio   = "radio"
	CauseUpdate  = "update"
	CauseUnknown = "unknown"

	CauseLog     = "log" // of our own pipeline
	CauseGateway = "gateway"

	CauseFailures = "failures" // of a failed update: devices crash, fall silent, say errors
	CauseInstall  = "install"  // it does not go on, or on paper only
	CauseHealth   = "health"   // a health metric is worse

	CauseDevice = "device" // of telemetry: one unlike its peers
	CausePeers  = "peers"  // all of them together

	CauseVolume = "volume" // of spend

	CauseClone          = "clone" // of security
	CauseKnocking       = "knocking"
	CauseEnrolmentBurst = "enrolment-burst"

	// Registry is the gateway of a subject where it was the registry that refused.
	Registry = "registry"

	CauseMany = "many" // of any kind: more incidents of it than are told one by one
)

// pages are the runbooks, by kind.
var pages = map[event.IncidentKind]string{
	event.SilentCohort:     "silent-cohort.md",
	event.Pipeline:         "gateway-or-region-out.md",
	event.UpdateFailure:    "update-failure.md",
	event.TelemetryAnomaly: "unusual-telemetry.md",
	event.Spend:            "runaway-cost.md",
	event.Security:         "security-sign.md",
}

// Kinds are all of them, in the order in which a Book counts them.
var Kinds = []event.IncidentKind{event.SilentCohort, event.Pipeline, event.UpdateFailure, event.TelemetryAnomaly, event.Spend, event.Security}

// Runbook is the page for who was woken by an incident: a file's name, below the base that Settings has.
func Runbook(kind event.IncidentKind, cause string) string {
	if kind == event.SilentCohort && cause == CauseRegion {
		return pages[event.Pipeline] // the way to it, not the devices, is what an engineer looks at
	}
	if page, ok := pages[kind]; ok {
		return page
	}
	return "README.md"
}

// Severity is what an incident has whose detector says none: critical is for whoever is on duty, warning for the
// morning, info for a chart.
func Severity(kind event.IncidentKind, cause string) string {
	switch kind {
	case event.Pipeline, event.UpdateFailure:
		return event.SeverityCritical
	case event.SilentCohort:
		if cause == CauseRegion || cause == CausePower || cause == CauseUpdate {
			return event.SeverityCritical
		}
	case event.Security:
		if cause == CauseClone {
			return event.SeverityCritical
		}
	case event.TelemetryAnomaly:
		if cause == CauseDevice {
			return event.SeverityInfo
		}
	}
	return event.SeverityWarning
}

func rank(severity string) int {
	switch severity {
	case event.SeverityCritical:
		return 3
	case event.SeverityWarning:
		return 2
	case event.SeverityInfo:
		return 1
	}
	return 0
}

// ID names an incident: i, then 60 bits of SHA-256 of its kind, its subject and when it began, as 12 of a-z 2-7.
func ID(kind event.IncidentKind, s event.Subject, since int64) string {
	sum := digest(kind, s, strconv.FormatInt(since, 10))
	return "i" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:8])[:12])
}

func digest(kind event.IncidentKind, s event.Subject, more string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.Join([]string{string(kind), s.Cohort, s.Region, s.Gateway, s.Rollout, s.Metric, s.Device, more}, "\x00")))
}

// title is an incident's in a list, for its detector gave none. Of a resolved one it says how many devices it was at worst, at
// once: of a silence these need not have been silent from its beginning to its end.
func title(i *event.Incident, worst uint32) string {
	instant := func(at int64) string { return time.UnixMilli(at).UTC().Format("2006-01-02 15:04 UTC") }
	since, is, are, n := "since "+instant(i.Since), "is", "are", i.Count
	if i.State == event.IncidentResolved {
		since, is, are, n = "from "+instant(i.Since)+" to "+instant(i.ResolvedAt), "was", "were", worst
	}
	if n == 1 {
		are = is
	}
	s := i.Subject
	if i.Cause == CauseMany {
		return fmt.Sprintf("%d more incidents of kind %s %s not told one by one, %s", n, i.Kind, are, since)
	}
	metric := s.Metric
	if metric == "" {
		metric = "more than one metric"
	}
	switch i.Kind {
	case event.SilentCohort:
		who := fmt.Sprintf("%d %s", n, devices(n))
		if all := number(i.Numbers, "expected"); all >= int64(n) && all > 0 {
			who = fmt.Sprintf("%d of %d %s", n, all, devices(uint32(min(all, math.MaxUint32))))
		}
		silent := "silent"
		if i.State == event.IncidentResolved && n > 1 {
			who, silent = "up to "+who, "silent at once,"
		}
		cause := ""
		if i.Cause != "" && i.Cause != CauseUnknown && i.Cause != CauseRegion {
			cause = ", likely cause: " + i.Cause
		}
		return fmt.Sprintf("%s: %s %s %s %s%s", where(s), who, are, silent, since, cause)
	case event.Pipeline:
		if s.Gateway != "" {
			return fmt.Sprintf("gateway %s %s out %s: our own side, not the devices", s.Gateway, is, since)
		}
		if s.Region != "" {
			return fmt.Sprintf("no gateway of region %s %s heard %s: our own side, not the devices", s.Region, is, since)
		}
		return "nothing " + is + " heard " + since + ": our own side, not the devices"
	case event.UpdateFailure:
		of := ""
		if s.Cohort != "" {
			of = " of cohort " + s.Cohort
		}
		return fmt.Sprintf("rollout %s%s fails: %d %s with it %s worse off", s.Rollout, of, n, devices(n), are)
	case event.TelemetryAnomaly:
		if s.Device != "" {
			return fmt.Sprintf("%s: %s %s unlike before %s", s.Device, metric, is, since)
		}
		return fmt.Sprintf("%s: %s of %d %s %s unlike before %s", where(s), metric, n, devices(n), is, since)
	case event.Spend:
		if s.Metric != "" {
			return fmt.Sprintf("%s: more of %s than forecast %s", where(s), s.Metric, since)
		}
		return where(s) + ": more comes in than forecast " + since
	}
	switch i.Cause { // security
	case CauseClone:
		return fmt.Sprintf("%s looks like two devices %s", where(s), since)
	case CauseKnocking:
		if s.Gateway == Registry {
			return "the registry: what is not allowed is tried again and again " + since
		}
		return where(s) + ": revoked identities keep knocking " + since
	case CauseEnrolmentBurst:
		return where(s) + ": far more devices enrol than usual " + since
	}
	return fmt.Sprintf("%s: %s %s", where(s), i.Cause, since)
}

func devices(n uint32) string {
	if n == 1 {
		return "device"
	}
	return "devices"
}

func where(s event.Subject) string {
	switch {
	case s.Device != "":
		return s.Device
	case s.Cohort != "" && s.Region != "":
		return "cohort " + s.Cohort + " in region " + s.Region
	case s.Cohort != "":
		return "cohort " + s.Cohort
	case s.Region != "":
		return "region " + s.Region
	case s.Gateway != "":
		return "gateway " + s.Gateway
	}
	return "the fleet"
}

// number is a whole number of those behind a verdict, or -1.
func number(all []event.Number, name string) int64 {
	for _, n := range all {
		if n.Name == name {
			return n.Micro / 1e6
		}
	}
	return -1
}

// plain cuts a text to a limit in bytes and takes out what a record may not hold: what a detector quotes comes from
// devices.
func plain(s string, limit int) string {
	ok := len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
	if ok {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return s
}
