package tail

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 3, 14, 15, 9, 26, 535e6, time.UTC)

func telemetry(t *testing.T, build func(*batch.Builder)) *kgo.Record {
	t.Helper()
	b := batch.NewBuilder()
	b.SetKey(3, 17)
	b.SetFirmware("1.2.0")
	build(b)
	value, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{
		Topic: record.TopicTelemetry, Partition: 2, Offset: 1234, Timestamp: at, Key: []byte("boiler-7"), Value: value,
		Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: record.Device{No: 42}.Append(nil)}},
	}
}

func TestABatchIsShownByItsSteps(t *testing.T) {
	ts := at.UnixMilli()
	e := NewReader().Read(telemetry(t, func(b *batch.Builder) {
		b.SetScaled(ts, "temp_c", 215, 1)
		b.SetBool(ts, "door_open", true)
		b.SetScaled(ts+1000, "temp_c", 216, 1)
		b.SetText(ts+1000, "mode", `say "hot"`)
	}))
	if e.Error != "" || e.Device != "boiler-7" || e.DeviceNo != 42 || *e.Boot != 3 || *e.Seq != 17 || e.Firmware != "1.2.0" || e.Values != 4 || e.Steps != 2 {
		t.Errorf("%+v", e)
	}
	got, err := json.Marshal(e.Readings)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"ts":1773500966535,"metrics":{"door_open":true,"temp_c":21.5}},{"ts":1773500967535,"metrics":{"mode":"say \"hot\"","temp_c":21.6}}]`
	if string(got) != want {
		t.Errorf("readings %s\nwant     %s", got, want)
	}
	line := `2026-03-14T15:09:26.535Z telemetry/2@1234 telemetry boiler-7 3/17: 4 values in 2 steps, the last 15:09:27.535 mode="say \"hot\"" temp_c=21.6`
	if e.String() != line {
		t.Errorf("line %s\nwant %s", e, line)
	}
}

func TestWhoSentAMessageForADeviceIsShown(t *testing.T) {
	rec := telemetry(t, func(b *batch.Builder) { b.SetBool(at.UnixMilli(), "door_open", true) })
	rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: record.HeaderVia, Value: record.AppendVia(nil, 7)})
	if e := NewReader().Read(rec); e.Via != 7 || e.DeviceNo != 42 || !strings.Contains(e.String(), "boiler-7 3/17 via #7: ") {
		t.Errorf("%+v: %s", e, e)
	}
}

func TestAMessageByASchemaIsShownByTheSchemasNames(t *testing.T) {
	value, headers, err := event.Registry{N: 1, Time: at.UnixMilli(), Who: "operator", Body: event.SchemaDefined{
		Schema: 9, Metrics: []event.SchemaMetric{{Name: "temp_c", Kind: batch.Int, Scale: 1}},
	}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	defined := &kgo.Record{Topic: record.TopicRegistry, Timestamp: at, Value: value}
	for _, h := range headers {
		defined.Headers = append(defined.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	message := telemetry(t, func(b *batch.Builder) {
		b.SetSchema(9, []string{"temp_c"})
		b.SetScaled(at.UnixMilli(), "temp_c", 215, 1)
	})
	r := NewReader()
	if e := r.Read(message); e.Readings[0].Metrics["schema_9_0"] == nil {
		t.Errorf("before the schema is known: %+v", e)
	}
	if e := r.Read(defined); e.Error != "" || !strings.Contains(e.String(), "temp_c") {
		t.Errorf("%+v", e)
	}
	if e := r.Read(message); string(e.Readings[0].Metrics["temp_c"]) != "21.5" {
		t.Errorf("%+v", e)
	}
}

func TestAWatermarkAndADevicesEventAreShown(t *testing.T) {
	value, headers, err := event.Watermark{Gateway: "local", Time: at.UnixMilli(), Accepted: 5}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: record.TopicTelemetry, Timestamp: at, Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if e := NewReader().Read(rec); e.Error != "" || !record.IsControl(e.Type) || !strings.Contains(e.String(), "local") {
		t.Errorf("%+v", e)
	}
	m, err := event.ParseDeviceJSON([]byte(`{"boot":1,"seq":2,"fw":"1.0","events":[{"ts":1773500966535,"type":"boot"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if value, err = m.AppendTo(nil); err != nil {
		t.Fatal(err)
	}
	if e := NewReader().Read(&kgo.Record{Topic: record.TopicEvents, Timestamp: at, Key: []byte("d"), Value: value}); e.Error != "" || *e.Seq != 2 || !strings.Contains(e.String(), "boot") {
		t.Errorf("%+v", e)
	}
}

func TestASignOfACloneIsShown(t *testing.T) {
	rec, err := (&sign.Sign{Kind: sign.TwoAddresses, Time: at.UnixMilli(), Gateway: "local", Address: "192.0.2.7", OtherAddress: "198.51.100.9"}).Record("boiler-7", record.Device{No: 42})
	if err != nil {
		t.Fatal(err)
	}
	e := NewReader().Read(rec)
	if e.Error != "" || e.DeviceNo != 42 || e.Type != sign.CEType || !strings.Contains(e.String(), "boiler-7") || !strings.Contains(e.String(), "198.51.100.9") {
		t.Errorf("%s", e)
	}
}

func TestAnEnrolmentIsShownAsItsDevices(t *testing.T) {
	value, headers, err := event.Registry{N: 2, Time: at.UnixMilli(), Who: "operator", Body: event.DeviceEnrolled{Device: "boiler-7", No: 42, Cohort: "pilot"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Timestamp: at, Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if e := NewReader().Read(rec); e.Error != "" || e.Device != "boiler-7" || e.DeviceNo != 42 {
		t.Errorf("%+v", e)
	}
}

func TestAnIncidentIsShownAsItStands(t *testing.T) {
	value, headers, err := event.Incident{
		N: 3, ID: "iabcdefgh2345", State: event.IncidentOpen, Kind: event.SilentCohort, Severity: event.SeverityCritical, Title: "15 of 50 are silent", Cause: "power",
		Subject: event.Subject{Cohort: "canary"}, Revision: 1, Count: 15, Detector: "silence-1-0a1b2c3d",
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: record.TopicIncidents, Key: []byte("iabcdefgh2345"), Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	e := NewReader().Read(rec)
	if got, ok := e.Body.(event.Incident); !ok || got.ID != "iabcdefgh2345" || e.Device != "" || e.Error != "" || !strings.Contains(e.String(), "incidents/0@0 muster.incident.opened.v1: {") {
		t.Errorf("%+v: %s", e, e)
	}
	rec.Value = []byte{0xc1}
	if e = NewReader().Read(rec); e.Error == "" || e.Body != nil {
		t.Errorf("%+v", e)
	}
}

func TestWhatCannotBeReadIsShownWithItsPlace(t *testing.T) {
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents, record.TopicRegistry} {
		e := NewReader().Read(&kgo.Record{Topic: topic, Partition: 1, Offset: 7, Timestamp: at, Value: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}})
		if e.Error == "" || !strings.Contains(e.String(), "/1@7") || !strings.Contains(e.String(), "cannot be read (5 bytes)") {
			t.Errorf("%s: %s", topic, e)
		}
	}
}
