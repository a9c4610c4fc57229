package event_test

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

var issuerDER = []byte("stands for a certificate")

// lived is one registry event of each type that came after the first release, and the first release's with what it has gained.
func lived() []event.Body {
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	issuer := event.IssuerID(issuerDER)
	return []event.Body{
		event.IssuerDefined{Issuer: issuer, Certificate: issuerDER},
		event.RegionDefined{Region: "eu", Gateway: "eu.example:8443"},
		event.CohortDefined{Cohort: "canary", Interval: 60_000, Region: "eu", Sleep: []event.Sleep{{Days: 0b0011111, From: 22 * 60, To: 6 * 60}}},
		event.LineDefined{Label: "pumps", Profile: "pump", Cohort: "canary", Class: event.ClassDebug, History: true, Interval: 30_000, Region: "eu"},
		event.PasswordMade{ID: "pw-1", Hash: sum("secret"), Label: "pumps", Prefix: "pump-", NotAfter: at, Uses: 10},
		event.ManufacturerTrusted{Name: "acme", Certificates: [][]byte{issuerDER}},
		event.SerialsClaimed{Manufacturer: "acme", Label: "pumps", Claims: []event.Claim{{Serial: "SN/0001", Device: "pump-18"}}},
		event.DeviceEnrolled{
			Device: "pump-18", No: 2, Cohort: "canary", Profile: 1, Serial: "1f", SPKI: sum("key"), Method: "manufacturer", Via: "acme/SN/0001", Label: "pumps",
			Attributes: map[string]string{"board": "rev C", "site": "Kiel", "line": "3"},
		},
		event.CertificateIssued{No: 2, Serial: "1f", SPKI: sum("key"), CSR: sum("csr"), NotBefore: at, NotAfter: at + 90*86_400_000, Issuer: issuer, Method: "manufacturer", Via: "acme/SN/0001"},
		event.CertificateRevoked{No: 2, Serial: "1f"},
		event.DeviceQuarantined{No: 2, On: true},
		event.DeviceMoved{No: 2, Cohort: "north"},
		event.DeviceDescribed{No: 2, Attributes: map[string]string{"site": "Oslo", "line": "4"}},
		event.DeviceReplaced{Old: 2, New: 3},
		event.CohortQuarantined{Cohort: "north", On: true},
		event.CohortRevoked{Cohort: "north"},
		event.GroupDefined{Group: "oslo", Selector: "site=Oslo,line!=3"},
		event.GroupRemoved{Group: "oslo"},
		event.PasswordWithdrawn{ID: "pw-1"},
		event.SerialsReleased{Manufacturer: "acme", Serials: []string{"SN/0001"}},
		event.ManufacturerDistrusted{Name: "acme"},
		event.IssuerRevoked{Issuer: issuer},
		event.TokenMade{ID: "t-1", Name: "ci", Role: "releaser", Hash: sum("token"), NotAfter: at},
		event.TokenWithdrawn{ID: "t-1"},
		event.AttemptRefused{What: "enrol", Subject: "pump-9", Reason: "the password was used", Source: "192.0.2.7", More: 12},
		event.SnapshotTaken{Offset: 90_000, Event: 50_000, Slot: 1, Start: 17, Chunks: 3, Sum: sum("chunks")},
		event.ActingGranted{Agent: 4, Devices: []uint32{2, 300}, Cohort: "north"},
		event.ActingWithdrawn{Agent: 4},
		event.RolloutStarted{
			Rollout: "pump-2.4", Cohort: "canary", Firmware: "2.4.0", From: "2.3.1", Stages: []event.RolloutStage{{SharePPM: 100_000, SoakMS: 3_600_000}, {SharePPM: 1_000_000}}, BySite: true,
			Design: event.DefaultRolloutDesign(), Health: []event.RolloutHealth{{Metric: "battery_pct", Worse: -1}, {Metric: "temp_c", Worse: 1}},
		},
		event.RolloutAssigned{Rollout: "pump-2.4", Stage: 1, Devices: []uint32{2, 300, 70_000}},
		event.RolloutStageStarted{Rollout: "pump-2.4", Stage: 1},
		event.RolloutChanged{Rollout: "pump-2.4", State: event.RolloutHeld, Why: "stage 1 failed"},
		event.IncidentAcknowledged{Incident: "iabcdefgh2345"},
	}
}

func TestGoldenEventsOfALaterReleaseDecodeForEver(t *testing.T) {
	seen := map[string]bool{}
	for i, body := range lived() {
		e := event.Registry{N: uint64(i + 7), Prev: event.Chain([]byte("before")), Time: at, Who: "operator", Why: "set up", Body: body}
		value, headers, err := e.Encode()
		if err != nil {
			t.Fatalf("%T: %v", body, err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(body.Type(), ".v1"), "registry.")
		if name == "device-enrolled" {
			name += "-by-method"
		}
		if seen[name] {
			t.Errorf("%s stands for two events", name)
		}
		seen[name] = true
		frozen, means := golden(t, name+".registry")
		got, err := event.DecodeRegistry(headers, frozen)
		if err != nil || !reflect.DeepEqual(got, e) || means != body.Type()+"\n" {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, e)
		}
		if !bytes.Equal(value, frozen) {
			t.Errorf("%s is written otherwise now: % x", name, value)
		}
	}
}

func TestABadLaterEventIsRefused(t *testing.T) {
	good := map[string]event.Body{}
	for _, body := range lived() {
		good[body.Type()] = body
	}
	long := strings.Repeat("x", 2_000)
	many := map[string]string{}
	for i := range event.MaxAttributes + 1 {
		many["a"+strings.Repeat("a", i)] = "x"
	}
	issued, cohort, password := good[event.TypeCertificateIssued].(event.CertificateIssued), good[event.TypeCohortDefined].(event.CohortDefined), good[event.TypePasswordMade].(event.PasswordMade)
	line, claimed, token, snapshot := good[event.TypeLineDefined].(event.LineDefined), good[event.TypeSerialsClaimed].(event.SerialsClaimed), good[event.TypeTokenMade].(event.TokenMade), good[event.TypeSnapshotTaken].(event.SnapshotTaken)
	rollout := good[event.TypeRolloutStarted].(event.RolloutStarted)
	for name, body := range map[string]event.Body{
		"certificate of nobody":      with(issued, func(c *event.CertificateIssued) { c.No = 0 }),
		"serial in upper case":       with(issued, func(c *event.CertificateIssued) { c.Serial = "1F" }),
		"serial with a zero":         with(issued, func(c *event.CertificateIssued) { c.Serial = "01f" }),
		"serial too long":            with(issued, func(c *event.CertificateIssued) { c.Serial = strings.Repeat("1", 41) }),
		"key's hash":                 with(issued, func(c *event.CertificateIssued) { c.SPKI = nil }),
		"request's hash":             with(issued, func(c *event.CertificateIssued) { c.CSR = []byte{1} }),
		"ends before it begins":      with(issued, func(c *event.CertificateIssued) { c.NotAfter = c.NotBefore }),
		"issuer":                     with(issued, func(c *event.CertificateIssued) { c.Issuer = "me" }),
		"method":                     with(issued, func(c *event.CertificateIssued) { c.Method = "" }),
		"revoked serial of nothing":  event.CertificateRevoked{No: 1},
		"revoked serial of nobody":   event.CertificateRevoked{Serial: "1"},
		"issuer of another":          event.IssuerDefined{Issuer: strings.Repeat("0", 32), Certificate: issuerDER},
		"issuer without":             event.IssuerDefined{Issuer: event.IssuerID(nil)},
		"issuer too long":            event.IssuerDefined{Issuer: event.IssuerID([]byte(strings.Repeat("x", event.MaxDER+1))), Certificate: []byte(strings.Repeat("x", event.MaxDER+1))},
		"revoked issuer":             event.IssuerRevoked{Issuer: "x"},
		"quarantine of nobody":       event.DeviceQuarantined{On: true},
		"replaced by itself":         event.DeviceReplaced{Old: 1, New: 1},
		"replaced by nobody":         event.DeviceReplaced{Old: 1},
		"moved nowhere":              event.DeviceMoved{No: 1},
		"attribute's key":            event.DeviceDescribed{No: 1, Attributes: map[string]string{"A": "x"}},
		"attribute's value":          event.DeviceDescribed{No: 1, Attributes: map[string]string{"a": "x\n"}},
		"attribute too long":         event.DeviceDescribed{No: 1, Attributes: map[string]string{"a": long[:129]}},
		"attributes":                 event.DeviceDescribed{No: 1, Attributes: many},
		"cohort's name":              with(cohort, func(c *event.CohortDefined) { c.Cohort = "North" }),
		"cohort's region":            with(cohort, func(c *event.CohortDefined) { c.Region = "e u" }),
		"cohort's interval":          with(cohort, func(c *event.CohortDefined) { c.Interval = -1 }),
		"sleep without a day":        with(cohort, func(c *event.CohortDefined) { c.Sleep = []event.Sleep{{From: 1, To: 2}} }),
		"sleep of no length":         with(cohort, func(c *event.CohortDefined) { c.Sleep = []event.Sleep{{Days: 1, From: 2, To: 2}} }),
		"sleep past midnight":        with(cohort, func(c *event.CohortDefined) { c.Sleep = []event.Sleep{{Days: 1, From: 2, To: 1440}} }),
		"sleeps":                     with(cohort, func(c *event.CohortDefined) { c.Sleep = make([]event.Sleep, event.MaxSleep+1) }),
		"revoked cohort":             event.CohortRevoked{},
		"quarantined cohort":         event.CohortQuarantined{Cohort: "A"},
		"group without a selector":   event.GroupDefined{Group: "a"},
		"group's name":               event.GroupDefined{Group: "A", Selector: "a"},
		"removed group":              event.GroupRemoved{},
		"region's name":              event.RegionDefined{Gateway: "a"},
		"region's gateway":           event.RegionDefined{Region: "eu", Gateway: long},
		"line's label":               with(line, func(l *event.LineDefined) { l.Label = "" }),
		"line's profile":             with(line, func(l *event.LineDefined) { l.Profile = "a-b" }),
		"line's class":               with(line, func(l *event.LineDefined) { l.Class = 4 }),
		"password's hash":            with(password, func(p *event.PasswordMade) { p.Hash = nil }),
		"password for nobody":        with(password, func(p *event.PasswordMade) { p.Prefix = "" }),
		"password for both":          with(password, func(p *event.PasswordMade) { p.Device = "a" }),
		"password without uses":      with(password, func(p *event.PasswordMade) { p.Uses = 0 }),
		"password's end":             with(password, func(p *event.PasswordMade) { p.NotAfter = batch.MaxTime + 1 }),
		"withdrawn password":         event.PasswordWithdrawn{},
		"manufacturer without roots": event.ManufacturerTrusted{Name: "a"},
		"manufacturer's name":        event.ManufacturerTrusted{Certificates: [][]byte{{1}}},
		"claims of nothing":          with(claimed, func(c *event.SerialsClaimed) { c.Claims = nil }),
		"claims too many":            with(claimed, func(c *event.SerialsClaimed) { c.Claims = make([]event.Claim, event.MaxClaims+1) }),
		"claim's serial":             with(claimed, func(c *event.SerialsClaimed) { c.Claims = []event.Claim{{Serial: "a b", Device: "a"}} }),
		"claim's device":             with(claimed, func(c *event.SerialsClaimed) { c.Claims = []event.Claim{{Serial: "a"}} }),
		"releases of nothing":        event.SerialsReleased{Manufacturer: "a"},
		"distrusted":                 event.ManufacturerDistrusted{},
		"token's hash":               with(token, func(c *event.TokenMade) { c.Hash = nil }),
		"token's role":               with(token, func(c *event.TokenMade) { c.Role = "" }),
		"withdrawn token":            event.TokenWithdrawn{},
		"attempt at nothing":         event.AttemptRefused{},
		"attempt too long":           event.AttemptRefused{What: "a", Subject: long},
		"snapshot of nothing":        with(snapshot, func(c *event.SnapshotTaken) { c.Event = 0 }),
		"snapshot's slot":            with(snapshot, func(c *event.SnapshotTaken) { c.Slot = 2 }),
		"snapshot's sum":             with(snapshot, func(c *event.SnapshotTaken) { c.Sum = nil }),
		"snapshot's chunks":          with(snapshot, func(c *event.SnapshotTaken) { c.Chunks = 0 }),
		"agent of nobody":            event.ActingGranted{Devices: []uint32{1}},
		"agent of nothing":           event.ActingGranted{Agent: 1},
		"agent of itself":            event.ActingGranted{Agent: 2, Devices: []uint32{1, 2}},
		"agent of number 0":          event.ActingGranted{Agent: 2, Devices: []uint32{0}},
		"agent of one twice":         event.ActingGranted{Agent: 2, Devices: []uint32{3, 3}},
		"agent of them in disorder":  event.ActingGranted{Agent: 2, Devices: []uint32{4, 3}},
		"agent of too many":          event.ActingGranted{Agent: 2, Devices: make([]uint32, event.MaxActing+1)},
		"agent of a cohort":          event.ActingGranted{Agent: 2, Cohort: "North"},
		"withdrawn agent":            event.ActingWithdrawn{},
		"rollout's name":             with(rollout, func(r *event.RolloutStarted) { r.Rollout = "" }),
		"rollout's cohort":           with(rollout, func(r *event.RolloutStarted) { r.Cohort = "North" }),
		"rollout of nothing":         with(rollout, func(r *event.RolloutStarted) { r.Firmware = "" }),
		"rollout of a long one":      with(rollout, func(r *event.RolloutStarted) { r.Firmware = long[:event.MaxFirmware+1] }),
		"rollout of the same":        with(rollout, func(r *event.RolloutStarted) { r.From = r.Firmware }),
		"rollout without stages":     with(rollout, func(r *event.RolloutStarted) { r.Stages = nil }),
		"rollout's stages":           with(rollout, func(r *event.RolloutStarted) { r.Stages = make([]event.RolloutStage, event.MaxStages+1) }),
		"rollout's shares":           with(rollout, func(r *event.RolloutStarted) { r.Stages = []event.RolloutStage{{SharePPM: 2}, {SharePPM: 2}} }),
		"rollout of more than all":   with(rollout, func(r *event.RolloutStarted) { r.Stages = []event.RolloutStage{{SharePPM: 1_000_001}} }),
		"rollout's soak":             with(rollout, func(r *event.RolloutStarted) { r.Stages = []event.RolloutStage{{SharePPM: 1, SoakMS: -1}} }),
		"rollout's alpha":            with(rollout, func(r *event.RolloutStarted) { r.Design.AlphaPPM = 0 }),
		"rollout's beta":             with(rollout, func(r *event.RolloutStarted) { r.Design.BetaPPM = 500_001 }),
		"rollout's margin":           with(rollout, func(r *event.RolloutStarted) { r.Design.MarginPermille = 1_000 }),
		"rollout's absolute":         with(rollout, func(r *event.RolloutStarted) { r.Design.AbsolutePPM = 1_000_000 }),
		"rollout's installs":         with(rollout, func(r *event.RolloutStarted) { r.Design.InstallPPM = 0 }),
		"rollout's tick":             with(rollout, func(r *event.RolloutStarted) { r.Design.TickMS = 999 }),
		"rollout's exposure":         with(rollout, func(r *event.RolloutStarted) { r.Design.MinExposureMS = -1 }),
		"rollout's health":           with(rollout, func(r *event.RolloutStarted) { r.Health = []event.RolloutHealth{{Metric: "A"}} }),
		"rollout's health twice":     with(rollout, func(r *event.RolloutStarted) { r.Health = []event.RolloutHealth{{Metric: "a"}, {Metric: "a"}} }),
		"rollout's worse":            with(rollout, func(r *event.RolloutStarted) { r.Health = []event.RolloutHealth{{Metric: "a", Worse: 2}} }),
		"rollout's healths":          with(rollout, func(r *event.RolloutStarted) { r.Health = make([]event.RolloutHealth, event.MaxHealth+1) }),
		"assigned to nothing":        event.RolloutAssigned{Devices: []uint32{1}},
		"assigned too late":          event.RolloutAssigned{Rollout: "r", Stage: event.MaxStages + 1, Devices: []uint32{1}},
		"assigned nobody":            event.RolloutAssigned{Rollout: "r"},
		"assigned number 0":          event.RolloutAssigned{Rollout: "r", Devices: []uint32{0}},
		"assigned twice":             event.RolloutAssigned{Rollout: "r", Devices: []uint32{1, 1}},
		"assigned too many":          event.RolloutAssigned{Rollout: "r", Devices: make([]uint32, event.MaxAssigned+1)},
		"control started":            event.RolloutStageStarted{Rollout: "r"},
		"stage of nothing":           event.RolloutStageStarted{Stage: 1},
		"rollout's state":            event.RolloutChanged{Rollout: "r", State: "stopped"},
		"changed nothing":            event.RolloutChanged{State: event.RolloutDone},
		"changed with a reason":      event.RolloutChanged{Rollout: "r", State: event.RolloutDone, Why: long},
		"acknowledged nothing":       event.IncidentAcknowledged{},
		"acknowledged otherwise":     event.IncidentAcknowledged{Incident: "iabcdefgh2341"},
		"enrolled attributes":        event.DeviceEnrolled{Device: "a", No: 1, Attributes: map[string]string{"": "x"}},
	} {
		if _, _, err := (event.Registry{N: 1, Body: body}).Encode(); err == nil {
			t.Errorf("%s was written", name)
		} else if _, ok := batch.AsError(err); !ok {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

func with[T any](v T, spoil func(*T)) T {
	spoil(&v)
	return v
}

// The chain is made of bytes: an event that is written twice must have the same.
func TestEqualEventsHaveEqualBytes(t *testing.T) {
	for _, body := range lived() {
		first, _, err := (event.Registry{N: 1, Body: body}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if again, _, _ := (event.Registry{N: 1, Body: body}).Encode(); !bytes.Equal(first, again) {
				t.Fatalf("%T: % x, then % x", body, first, again)
			}
		}
	}
}
