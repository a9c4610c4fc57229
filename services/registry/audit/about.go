package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"muster.dev/proto/event"
)

// about is what an event is about.
type about struct {
	devices []string
	cohort  string // all of whose devices it is about
	subject string // in words
}

func (r *Reader) about(body event.Body) about {
	device := func(no uint32, subject string) about {
		return about{devices: []string{r.name(no)}, subject: subject}
	}
	switch b := body.(type) {
	case event.DeviceEnrolled:
		return about{devices: []string{b.Device}, subject: "cohort " + b.Cohort}
	case event.DeviceRevoked:
		return device(b.No, "")
	case event.CertificateIssued:
		return device(b.No, "certificate "+b.Serial)
	case event.CertificateRevoked:
		return device(b.No, "certificate "+b.Serial)
	case event.DeviceQuarantined:
		return device(b.No, onOff(b.On))
	case event.DeviceMoved:
		return device(b.No, "to cohort "+b.Cohort)
	case event.DeviceDescribed:
		return device(b.No, "attributes")
	case event.DeviceReplaced:
		return about{devices: []string{r.name(b.Old), r.name(b.New)}, subject: "by " + r.name(b.New)}
	case event.ActingGranted:
		return r.granted(b)
	case event.ActingWithdrawn:
		return device(b.Agent, "for nobody")
	case event.CohortDefined:
		return about{cohort: b.Cohort, subject: "cohort " + b.Cohort}
	case event.CohortRevoked:
		return about{cohort: b.Cohort, subject: "cohort " + b.Cohort}
	case event.CohortQuarantined:
		return about{cohort: b.Cohort, subject: "cohort " + b.Cohort + " " + onOff(b.On)}
	case event.RolloutStarted:
		return about{cohort: b.Cohort, subject: "rollout " + b.Rollout + " of " + b.Firmware}
	case event.RolloutAssigned:
		return r.assigned(b)
	case event.PasswordMade:
		a := about{subject: "password " + b.ID}
		if b.Device != "" {
			a.devices = []string{b.Device}
		}
		return a
	case event.SerialsClaimed:
		a := about{subject: fmt.Sprintf("%d serials of manufacturer %s", len(b.Claims), b.Manufacturer)}
		if len(b.Claims) == 1 {
			a.subject = "serial " + b.Claims[0].Serial + " of manufacturer " + b.Manufacturer
		}
		for _, c := range b.Claims {
			if c.Device != "" && (len(b.Claims) == 1 || c.Device == r.follow) {
				a.devices = append(a.devices, c.Device)
			}
		}
		return a
	case event.AttemptRefused:
		a := about{subject: b.What + ": " + b.Reason}
		if b.Subject != "" {
			a.devices = []string{b.Subject}
		}
		return a
	}
	return about{subject: thing(body)}
}

// thing is the subject of an event that is about no device.
func thing(body event.Body) string {
	switch b := body.(type) {
	case event.ProfileDefined:
		return "profile " + b.Name
	case event.MetricAdded:
		return "metric " + b.Metric
	case event.SchemaDefined:
		return fmt.Sprintf("schema %d", b.Schema)
	case event.TopicDefined:
		return "topic " + b.Name
	case event.IssuerDefined:
		return "issuer " + b.Issuer
	case event.IssuerRevoked:
		return "issuer " + b.Issuer
	case event.GroupDefined:
		return "group " + b.Group + ": " + b.Selector
	case event.GroupRemoved:
		return "group " + b.Group
	case event.RegionDefined:
		return "region " + b.Region
	case event.LineDefined:
		return "line " + b.Label
	case event.PasswordWithdrawn:
		return "password " + b.ID
	case event.ManufacturerTrusted:
		return "manufacturer " + b.Name
	case event.ManufacturerDistrusted:
		return "manufacturer " + b.Name
	case event.SerialsReleased:
		return fmt.Sprintf("%d serials of manufacturer %s", len(b.Serials), b.Manufacturer)
	case event.TokenMade:
		return "token " + b.ID + " of " + b.Name
	case event.TokenWithdrawn:
		return "token " + b.ID
	case event.SnapshotTaken:
		return fmt.Sprintf("up to event %d", b.Event)
	case event.RolloutStageStarted:
		return fmt.Sprintf("rollout %s: stage %d", b.Rollout, b.Stage)
	case event.RolloutChanged:
		return "rollout " + b.Rollout + ": " + b.State
	case event.IncidentAcknowledged:
		return "incident " + b.Incident
	}
	return ""
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// bodyJSON is a body by its names on the wire, bytes in hex. Equal bodies give equal text.
func (s shapes) bodyJSON(body event.Body) json.RawMessage {
	if _, unknown := body.(event.Unknown); unknown {
		return nil
	}
	raw, err := marshal(s.plain(reflect.ValueOf(body)))
	if err != nil {
		return nil // plain gives nothing that JSON has not
	}
	return raw
}

// plain makes of a value what JSON shows as the wire has it.
func (s shapes) plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for name, i := range s.of(v.Type()) {
			out[name] = s.plain(v.Field(i))
		}
		return out
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return hex.EncodeToString(v.Bytes())
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = s.plain(v.Index(i))
		}
		return out
	}
	return v.Interface()
}

// marshal is JSON as it is read by people: an ampersand stays one.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
