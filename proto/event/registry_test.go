package event_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// declared is one registry event of each type, as a chain.
func declared(tb testing.TB) (events []event.Registry, values [][]byte, headers [][]event.Header) {
	tb.Helper()
	var prev [32]byte
	for i, body := range []event.Body{
		event.TopicDefined{Name: record.TopicTelemetry, ID: []byte("0123456789abcdef"), Gen: 1, Partitions: 4},
		event.ProfileDefined{Profile: 1, Name: "pump", Class: event.ClassStandard},
		event.MetricAdded{Profile: 1, Metric: "temp_c", Kind: batch.Int, Scale: 1},
		event.SchemaDefined{Schema: 12, Metrics: []event.SchemaMetric{{Name: "temp_c", Kind: batch.Int, Scale: 1}, {Name: "mode", Kind: batch.Text}}},
		event.DeviceEnrolled{Device: "pump-17", No: 1, Cohort: "canary", Class: event.ClassAudit, Profile: 1, History: true, Interval: 10_000,
			Region: "eu", Serial: "0a1b", SPKI: bytes.Repeat([]byte{7}, 32)},
		event.DeviceRevoked{No: 1},
	} {
		e := event.Registry{N: uint64(i + 1), Prev: prev, Time: at, Who: "operator", Why: "set up", Body: body}
		value, h, err := e.Encode()
		if err != nil {
			tb.Fatal(err)
		}
		prev = event.Chain(value)
		events, values, headers = append(events, e), append(values, value), append(headers, h)
	}
	return events, values, headers
}

func TestRegistryEventsComeBack(t *testing.T) {
	events, values, headers := declared(t)
	for i, want := range events {
		got, err := event.DecodeRegistry(headers[i], values[i])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		h := map[string]string{}
		for _, header := range headers[i] {
			h[header.Key] = string(header.Value)
		}
		if h["ce_type"] != want.Body.Type() || h["ce_specversion"] != "1.0" || h["ce_id"] == "" || h["ce_source"] == "" || h["content-type"] != "application/msgpack" {
			t.Errorf("headers %v", h)
		}
	}
}

func TestGoldenRegistryEventsDecodeForEver(t *testing.T) {
	events, values, headers := declared(t)
	for i, e := range events {
		_, name, _ := strings.Cut(strings.TrimSuffix(e.Body.Type(), ".v1"), "registry.")
		value, means := golden(t, name+"-typed.registry")
		got, err := event.DecodeRegistry(headers[i], value)
		if err != nil || !reflect.DeepEqual(got, e) || means != e.Body.Type()+"\n" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if !bytes.Equal(values[i], value) {
			t.Errorf("%s is written otherwise now: % x", name, values[i])
		}
	}
}

// The first release did not write its type into an event; those events are in logs, and the chain goes on from them.
func TestGoldenEventsThatDoNotSayTheirTypeDecodeForEver(t *testing.T) {
	events, _, headers := declared(t)
	var prev [32]byte
	for i, e := range events {
		_, name, _ := strings.Cut(strings.TrimSuffix(e.Body.Type(), ".v1"), "registry.")
		value, means := golden(t, name+".registry")
		got, err := event.DecodeRegistry(headers[i], value)
		e.Prev = prev
		if err != nil || !reflect.DeepEqual(got, e) || means != e.Body.Type()+"\n" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		prev = event.Chain(value)
	}
}

// The chain covers a record's value, so what a record is stands in it: under another type's name it is no event.
func TestAnEventUnderAnotherTypesNameIsRefused(t *testing.T) {
	value, headers, err := event.Registry{N: 1, Body: event.PasswordWithdrawn{ID: "x-1"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{event.TypeTokenWithdrawn, event.TypeDeviceRevoked, "muster.registry.of-a-later-release.v1"} {
		for i := range headers {
			if headers[i].Key == record.HeaderType {
				headers[i].Value = []byte(other)
			}
		}
		if e, err := event.DecodeRegistry(headers, value); err == nil || !strings.Contains(err.Error(), other) {
			t.Errorf("%s: %+v, %v", other, e, err)
		}
	}
}

func TestAnEventOfALaterReleaseKeepsTheChain(t *testing.T) {
	value, err := msgpack.Marshal(map[string]any{"v": 1, "n": 9, "prev": make([]byte, 32), "time": at, "who": "", "why": "", "body": map[string]any{"x": 1}, "new": 1})
	if err != nil {
		t.Fatal(err)
	}
	headers := []event.Header{{Key: record.HeaderType, Value: []byte("muster.registry.of-a-later-release.v1")}}
	got, err := event.DecodeRegistry(headers, value)
	if err != nil || got.N != 9 || got.Body != (event.Unknown{CEType: "muster.registry.of-a-later-release.v1"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, _, err := got.Encode(); err == nil {
		t.Error("an unknown event was written")
	}
}

func TestABadRegistryEventIsRefused(t *testing.T) {
	good := func() event.DeviceEnrolled { return event.DeviceEnrolled{Device: "pump-17", No: 1} }
	for name, spoil := range map[string]func(*event.DeviceEnrolled){
		"id": func(d *event.DeviceEnrolled) { d.Device = "Pump" }, "no": func(d *event.DeviceEnrolled) { d.No = 0 },
		"class": func(d *event.DeviceEnrolled) { d.Class = 4 }, "spki": func(d *event.DeviceEnrolled) { d.SPKI = []byte{1} },
		"cohort": func(d *event.DeviceEnrolled) { d.Cohort = "a\x00" }, "interval": func(d *event.DeviceEnrolled) { d.Interval = -1 },
	} {
		d := good()
		spoil(&d)
		if _, _, err := (event.Registry{N: 1, Body: d}).Encode(); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	for name, body := range map[string]event.Body{
		"revoked 0": event.DeviceRevoked{}, "profile 0": event.ProfileDefined{Name: "a"}, "profile's name": event.ProfileDefined{Profile: 1, Name: "a b"},
		"metric's name": event.MetricAdded{Profile: 1, Metric: "x'"}, "metric's scale": event.MetricAdded{Profile: 1, Metric: "x", Scale: 10},
		"scale of a text": event.MetricAdded{Profile: 1, Metric: "x", Kind: batch.Text, Scale: 1}, "kind": event.MetricAdded{Profile: 1, Metric: "x", Kind: 4},
		"schema of nothing": event.SchemaDefined{Schema: 1}, "name twice": event.SchemaDefined{Schema: 1, Metrics: []event.SchemaMetric{{Name: "a"}, {Name: "a"}}},
		"topic's id": event.TopicDefined{Name: "a", ID: []byte{1}, Gen: 1, Partitions: 1}, "gen 0": event.TopicDefined{Name: "a", ID: make([]byte, 16), Partitions: 1},
	} {
		if _, _, err := (event.Registry{N: 1, Body: body}).Encode(); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	_, values, headers := declared(t)
	for name, value := range map[string][]byte{
		"empty": nil, "cut short": values[0][:20], "no map": {0x91, 1}, "a bomb": {0xdf, 0xff, 0xff, 0xff, 0xff}, "a bomb in a value": {0x81, 0xa1, 'v', 0xdd, 0x02, 0xfa, 0xf0, 0x80},
		"too large": append(values[0], make([]byte, event.MaxRegistryValue)...),
	} {
		if _, err := event.DecodeRegistry(headers[0], value); err == nil {
			t.Errorf("%s was read", name)
		} else if _, ok := batch.AsError(err); !ok {
			t.Errorf("%s: %#v", name, err)
		}
	}
	if _, err := event.DecodeRegistry(nil, values[0]); err == nil {
		t.Error("a record without a type was read")
	}
	later := bytes.Replace(values[0], []byte{0xa1, 'v', 1}, []byte{0xa1, 'v', 2}, 1)
	if e, ok := batch.AsError(second(event.DecodeRegistry(headers[0], later))); !ok || e.Code != batch.UnknownVersion {
		t.Errorf("a later version: %v", e)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAWatermarkComesBack(t *testing.T) {
	for _, want := range []event.Watermark{
		{Gateway: "gw-1", Time: at, Accepted: 12, Refused: map[string]uint64{"too_large": 1, "rate": 1 << 60}},
		{Gateway: "gw-1"},
		{Gateway: "gw-eu", Time: at, Region: "eu"},
	} {
		value, headers, err := want.Encode()
		if err != nil || !record.IsControl(string(headers[0].Value)) {
			t.Fatalf("%v, %v", headers, err)
		}
		got, err := event.DecodeWatermark(value)
		if err != nil || got.Gateway != want.Gateway || got.Time != want.Time || got.Accepted != want.Accepted || len(got.Refused) != len(want.Refused) || got.Refused["rate"] != want.Refused["rate"] || got.Region != want.Region {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, _, err := (event.Watermark{}).Encode(); err == nil {
		t.Error("a watermark of nobody was written")
	}
	if _, _, err := (event.Watermark{Gateway: "gw-1", Region: "a\nb"}).Encode(); err == nil {
		t.Error("a watermark of a region with a line break was written")
	}
	value, means := golden(t, "watermark.control")
	if got, err := event.DecodeWatermark(value); err != nil || got.Accepted != 12 || got.Refused["too_large"] != 1 || got.Region != "" || means != record.TypeWatermark+"\n" {
		t.Errorf("%+v, %v", got, err)
	}
	value, means = golden(t, "watermark-of-a-region.control")
	if got, err := event.DecodeWatermark(value); err != nil || got.Gateway != "gw-eu" || got.Region != "eu" || means != record.TypeWatermark+"\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if now, _, err := (event.Watermark{Gateway: "gw-eu", Time: at, Region: "eu"}).Encode(); err != nil || !bytes.Equal(now, value) {
		t.Errorf("a region's watermark is written otherwise now: % x, %v", now, err)
	}
}

func FuzzRegistryEvents(f *testing.F) {
	_, values, headers := declared(f)
	for i := range values {
		f.Add(string(headers[i][0].Value), values[i])
	}
	for _, body := range lived() {
		value, _, err := (event.Registry{N: 1, Body: body}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body.Type(), value)
	}
	f.Add("x", []byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, ceType string, value []byte) {
		_, _ = event.DecodeWatermark(value)
		e, err := event.DecodeRegistry([]event.Header{{Key: record.HeaderType, Value: []byte(ceType)}}, value)
		if err != nil {
			if _, ok := batch.AsError(err); !ok {
				t.Fatalf("refused by %#v", err)
			}
			return
		}
		if _, unknown := e.Body.(event.Unknown); unknown {
			return
		}
		again, headers, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := event.DecodeRegistry(headers, again); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v became %+v, %v", e, got, err)
		}
	})
}
