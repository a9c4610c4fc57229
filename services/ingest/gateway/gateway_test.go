package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/sign"
)

func header(r *kgo.Record, key string) []byte {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return nil
}

func compactMessage(t testing.TB, boot uint32, seq uint64, schema uint32, metrics []string) []byte {
	t.Helper()
	b := batch.NewBuilder()
	b.SetKey(boot, seq)
	b.SetFirmware("1.2.3")
	if schema != 0 {
		b.SetSchema(schema, metrics)
	}
	now := time.Now().UnixMilli()
	for i := range int64(11) {
		at := now - (10-i)*1000
		b.SetScaled(at, "temp_c", 2150+i, 2)
		b.SetInt(at, "rssi_dbm", -70-i%3)
		b.SetInt(at, "heap_free", 100_000-i)
		b.SetBool(at, "charging", i%2 == 0)
		b.SetInt(at, "uptime_s", 1000+i)
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAMessageStandsInTheLogAsTheContractSays(t *testing.T) {
	s := open(t, nil)
	s.enroll(event.DeviceEnrolled{Device: "other"})
	s.declare(event.ProfileDefined{Profile: 5, Name: "meter"})
	s.enroll(event.DeviceEnrolled{Device: "boiler-1", Profile: 5, Class: 2, History: true})
	c := s.device("boiler-1")
	s.eventually("enrolled while it runs", func() bool { return s.post(c, "/v1/telemetry", typeJSON, message(1, 0, "")).Code == 200 })

	before := time.Now().UnixMilli()
	sent := compactMessage(t, 3, 17, 0, nil)
	got := s.post(c, "/v1/telemetry", typeCompact, sent)
	if got.Raw != `{"status":"stored","values":55}` {
		t.Fatalf("%d %s", got.Code, got.Raw)
	}
	records := s.records(record.TopicTelemetry)
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	r := records[1]
	if string(r.Key) != "boiler-1" || !bytes.Equal(r.Value, sent) {
		t.Errorf("key %q, the value differs: %v", r.Key, !bytes.Equal(r.Value, sent))
	}
	if at := r.Timestamp.UnixMilli(); at < before || at > time.Now().UnixMilli() {
		t.Errorf("record time %d, sent at %d", at, before)
	}
	d, err := record.ParseDevice(header(r, record.HeaderDevice))
	if want := (record.Device{No: 2, Profile: 5, Class: 2, History: true}); err != nil || d != want {
		t.Errorf("stamp %+v, %v", d, err)
	}
	if len(r.Headers) != 1 {
		t.Errorf("headers %v", r.Headers)
	}
	s.balanced()
	if s.answered("stored") != 2 || s.metric("muster_gateway_values_total", "stream", "telemetry") != 57 {
		t.Error("not counted")
	}
}

func TestTheEasyFormsBecomeTheCompactOne(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	now := time.Now().UnixMilli()
	easy := map[string]any{"boot": 3, "seq": 1, "fw": "1.0", "note": "unknown keys are ignored", "readings": []any{
		map[string]any{"ts": now - 1, "metrics": map[string]any{"temp_c": 21.5, "rssi_dbm": -70, "on": true, "mode": "eco"}},
		map[string]any{"ts": now, "metrics": map[string]any{"temp_c": 21.75}},
	}}
	packed, err := msgpack.Marshal(easy)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.post(c, "/v1/telemetry", typeMsgPack, packed); r.Code != 200 || r.Values != 5 || r.Delivery != "" {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	text := fmt.Sprintf(`{"readings":[{"ts":%d,"metrics":{"temp_c":21.5,"rssi_dbm":-70}}],"boot":3,"seq":2}`, now)
	if r := s.post(c, "/v1/telemetry", "application/json; charset=utf-8", []byte(text)); r.Code != 200 || r.Values != 2 {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	for i, rec := range s.records(record.TopicTelemetry) {
		var b batch.Batch
		if err := b.Decode(rec.Value); err != nil {
			t.Fatal(err)
		}
		if !b.Keyed || b.Boot != 3 || b.Seq != uint64(i+1) || b.Values != []int{5, 2}[i] || b.Times[len(b.Times)-1] != now {
			t.Errorf("record %d: %+v", i, b)
		}
	}
}

func TestAMessageWithoutAKeyIsToldWhatItsRetryWouldDo(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	body := fmt.Appendf(nil, `{"readings":[{"ts":%d,"metrics":{"t":1}}]}`, time.Now().UnixMilli())
	for range 2 {
		if r := s.post(c, "/v1/telemetry", typeJSON, body); r.Code != 200 || r.Delivery != "at-least-once" || r.Duplicate {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 2 {
		t.Errorf("%d records", n)
	}
}

func TestDeviceEventsHaveTheirOwnStream(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	body := fmt.Appendf(nil, `{"boot":3,"seq":17,"fw":"1.0","events":[{"ts":%d,"type":"boot","reason":"power"},{"ts":1000,"type":"crash","reason":"stack"}]}`, time.Now().UnixMilli())
	if r := s.post(c, "/v1/telemetry", typeJSON, message(3, 17, "")); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	r := s.post(c, "/v1/events", typeJSON, body)
	if r.Code != 200 || r.Duplicate || r.Values != 1 || r.Faults != 1 || r.Quarantine[0].Reason != "time_past" || r.Quarantine[0].Metric != "crash" {
		t.Fatalf("the same seq in another stream: %d %s", r.Code, r.Raw)
	}
	m, err := event.ParseDeviceJSON(body)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := m.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.post(c, "/v1/events", typeMsgPack, packed); r.Code != 200 || !r.Duplicate {
		t.Errorf("the same message in another form: %d %s", r.Code, r.Raw)
	}
	records := s.records(record.TopicEvents)
	if len(records) != 1 || !bytes.Equal(records[0].Value, packed) || string(records[0].Key) != "boiler-1" || string(header(records[0], record.HeaderType)) != event.TypeDevice {
		t.Errorf("%d records: %+v", len(records), records)
	}
	if r := s.post(c, "/v1/events", typeCompact, packed); r.Code != 415 {
		t.Errorf("the compact form is telemetry's: %d", r.Code)
	}
	s.balanced()
}

func compress(t testing.TB, encoding string, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return p
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBodiesMayBeCompressedAndChunkedOverBothProtocols(t *testing.T) {
	s := open(t, nil, "boiler-1")
	id := s.ca.Device("boiler-1")
	seq, want := uint64(0), 0
	for _, http2 := range []bool{false, true} {
		c := s.client(id, http2)
		for _, encoding := range []string{"", "identity", "gzip", "zstd"} {
			for _, chunked := range []bool{false, true} {
				seq++
				var body io.Reader = bytes.NewReader(compress(t, encoding, compactMessage(t, 1, seq, 0, nil)))
				if chunked {
					body = io.MultiReader(body) // of unknown length
				}
				r, err := s.try(c, "/v1/telemetry", typeCompact, body, "Content-Encoding", encoding)
				if err != nil || r.Code != 200 || r.Values != 55 || strings.HasPrefix(r.Proto, "HTTP/2") != http2 {
					t.Errorf("http2 %v, %q, chunked %v: %s %d %s %v", http2, encoding, chunked, r.Proto, r.Code, r.Raw, err)
				}
				want++
			}
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != want {
		t.Errorf("%d records, want %d", n, want)
	}
	s.balanced()
}

// A device that imports what was recorded long ago is bound by its bytes as all others are: the store keeps old readings
// by year, so that a thousand days in a few kilobytes are no more work than they look.
func TestManyDaysInAMessageAreChargedByTheirBytes(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.DeviceBytes, c.Limits.DeviceBytesBurst = 1<<20, 8<<20 })
	s.enroll(event.DeviceEnrolled{Device: "historian", History: true})
	h := s.device("historian")
	message := func(seq, days int) []byte {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"boot":1,"seq":%d,"readings":[`, seq)
		for i := range days {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"ts":%d,"metrics":{"t":1}}`, int64(i)*86_400_000)
		}
		b.WriteString("]}")
		return b.Bytes()
	}
	var r reply
	s.eventually("the historian is known", func() bool {
		r = s.post(h, "/v1/telemetry", typeJSON, message(0, 1))
		return r.Code == 200
	})
	for seq := 1; seq <= 20; seq++ {
		if r = s.post(h, "/v1/telemetry", typeJSON, message(seq, 1000)); r.Code != 200 || r.Values != 1000 {
			t.Fatalf("1000 days: %d %s", r.Code, r.Raw)
		}
	}
	s.balanced()
}

func TestValuesAtFaultAreNamedAndTheRestIsStored(t *testing.T) {
	s := open(t, nil, "plain")
	s.enroll(event.DeviceEnrolled{Device: "historian", History: true})
	now := time.Now().UnixMilli()
	day := int64(24 * 3600 * 1000)
	body := fmt.Appendf(nil, `{"boot":1,"seq":1,"readings":[{"ts":0,"metrics":{"t":1}},{"ts":%d,"metrics":{"t":2,"u":3}},{"ts":%d,"metrics":{"t":4}}]}`, now, now+day)
	r := s.post(s.device("plain"), "/v1/telemetry", typeJSON, body)
	if r.Code != 200 || r.Values != 2 || r.Faults != 2 || len(r.Quarantine) != 2 {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	if q := r.Quarantine[0]; q.Metric != "t" || q.Step != 0 || q.TS != 0 || q.Reason != batch.ReasonTimePast {
		t.Errorf("%+v", q)
	}
	if q := r.Quarantine[1]; q.Step != 2 || q.TS != now+day || q.Reason != batch.ReasonTimeFuture {
		t.Errorf("%+v", q)
	}
	h := s.device("historian")
	s.eventually("the historian is known", func() bool {
		r = s.post(h, "/v1/telemetry", typeJSON, body)
		return r.Code == 200
	})
	if r.Values != 3 || r.Faults != 1 {
		t.Errorf("with history: %s", r.Raw)
	}
	packed, err := msgpack.Marshal(map[string]any{"readings": []any{map[string]any{"ts": now, "metrics": map[string]any{"x": nan(), "y": 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.post(h, "/v1/telemetry", typeMsgPack, packed); r.Code != 200 || r.Values != 1 || r.Faults != 1 || r.Quarantine[0].Reason != batch.ReasonNaN {
		t.Errorf("NaN: %d %s", r.Code, r.Raw)
	}
	s.balanced()
	if s.metric("muster_gateway_faulty_values_total", "reason", batch.ReasonTimePast) != 1 || s.metric("muster_gateway_faulty_values_total") != 4 {
		t.Error("faults are not counted")
	}
}

func nan() float64 { var zero float64; return zero / zero }

func TestASchemaMustBePublishedBeforeItIsUsed(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	metrics := []string{"temp_c", "rssi_dbm", "heap_free", "charging", "uptime_s"}
	sent := compactMessage(t, 1, 1, 9, metrics)
	if r := s.post(c, "/v1/telemetry", typeCompact, sent); r.Code != 422 || r.Reason != "unknown-schema" || r.Field != "schema" {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	schema := event.SchemaDefined{Schema: 9}
	for _, m := range metrics {
		schema.Metrics = append(schema.Metrics, event.SchemaMetric{Name: m})
	}
	s.declare(schema)
	var r reply
	s.eventually("the schema is known", func() bool { r = s.post(c, "/v1/telemetry", typeCompact, sent); return r.Code == 200 })
	records := s.records(record.TopicTelemetry)
	if r.Values != 55 || len(records) != 1 || string(header(records[0], record.HeaderSchema)) != "9" {
		t.Errorf("%s, %+v", r.Raw, records)
	}
	beyond := compactMessage(t, 1, 2, 9, append([]string{"a_new_one"}, metrics...))
	if r := s.post(c, "/v1/telemetry", typeCompact, beyond); r.Code != 422 || r.Reason != "unknown-schema" || r.Limit != 5 {
		t.Errorf("an index beyond the schema: %d %s", r.Code, r.Raw)
	}
	s.balanced()
}

func TestARetryIsKnownAndAnotherPayloadIsAConflict(t *testing.T) {
	s := open(t, nil, "boiler-1", "boiler-2")
	c := s.device("boiler-1")
	body := message(3, 17, "")
	for i := range 3 {
		if r := s.post(c, "/v1/telemetry", typeJSON, body); r.Code != 200 || r.Duplicate != (i > 0) || r.Values != 2 {
			t.Fatalf("try %d: %d %s", i, r.Code, r.Raw)
		}
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, []byte(`{"boot":3,"seq":17,"readings":[{"ts":1,"metrics":{"t":1}}]}`)); r.Code != 409 || r.Reason != "conflict" {
		t.Errorf("another payload: %d %s", r.Code, r.Raw)
	}
	if r := s.post(s.device("boiler-2"), "/v1/telemetry", typeJSON, body); r.Code != 200 || r.Duplicate {
		t.Errorf("another device: %d %s", r.Code, r.Raw)
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, message(3, 5, "")); r.Code != 200 || !r.Regressed {
		t.Errorf("a seq that goes back: %d %s", r.Code, r.Raw)
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, message(4, 0, "")); r.Code != 200 || r.Regressed {
		t.Errorf("a new boot: %d %s", r.Code, r.Raw)
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	s.balanced()
	if s.answered("duplicate") != 2 || s.answered("conflict") != 1 || s.metric("muster_gateway_seq_regressions_total") != 1 {
		t.Error("not counted")
	}
}

func TestWhoMayNotSendIsTold(t *testing.T) {
	s := open(t, nil, "good", "bad")
	if r := s.post(s.device("stranger"), "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 403 || r.Reason != "not-enrolled" {
		t.Errorf("not enrolled: %d %s", r.Code, r.Raw)
	}
	bad := s.device("bad")
	if r := s.post(bad, "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 200 {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	s.declare(event.DeviceRevoked{No: s.nos["bad"]})
	last := message(1, 2, "")
	s.eventually("a revoked device is refused", func() bool { out, _ := s.shutOut(bad, "revoked", last); return out })
	for _, body := range []string{`{"device":"bad","readings":[{"ts":1,"metrics":{"t":1}}]}`, `{"readings":[{"ts":1,"metrics":{"t":1}}],"device":17}`} {
		if r := s.post(s.device("good"), "/v1/telemetry", typeJSON, []byte(body)); r.Code != 403 || r.Reason != "device-mismatch" || r.Field != "device" {
			t.Errorf("another's name: %d %s", r.Code, r.Raw)
		}
	}
	packed, err := msgpack.Marshal(map[string]any{"note": []any{1, "device"}, "device": "bad", "events": []any{map[string]any{"ts": 1, "type": "boot", "reason": "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.post(s.device("good"), "/v1/events", typeMsgPack, packed); r.Code != 403 || r.Reason != "device-mismatch" {
		t.Errorf("another's name in an event: %d %s", r.Code, r.Raw)
	}
	for _, rec := range s.records(record.TopicTelemetry) {
		if string(rec.Key) != "bad" {
			t.Errorf("%s is stored", rec.Key)
		}
	}
	s.eventually("that it used another's name is told", func() bool { return s.written(sign.OtherName, "written") == 1 })
	fields, signs := s.signs()
	if n := len(s.records(record.TopicEvents)); n != 1 || len(signs) != 1 || string(signs[0].Key) != "good" || fields[0]["sign"] != "other-name" || fields[0]["named"] != "bad" {
		t.Errorf("%d events are stored, %v", n, fields)
	}
	if s.written(sign.OtherName, "withheld") != 2 {
		t.Error("the others are not counted")
	}
	if r := s.post(s.device("good"), "/v1/telemetry", typeJSON, message(1, 1, `,"device":"good"`)); r.Code != 200 {
		t.Errorf("its own name: %d %s", r.Code, r.Raw)
	}
	s.balanced()
}

// shutOut sends a message of one whose certificate has ended, and says whether that is known: by an alert when it connects
// anew, as all do whose connection has been ended; by a problem when the message was there first. Until then it is stored, or
// not taken because the gateway's copy of the registry is too old.
func (s *site) shutOut(c *http.Client, reason string, body []byte) (out, stored bool) {
	s.t.Helper()
	r, err := s.try(c, "/v1/telemetry", typeJSON, bytes.NewReader(body))
	switch {
	case err != nil:
		return strings.Contains(err.Error(), "bad certificate"), false
	case r.Code == http.StatusOK:
		return false, true
	case r.Code == http.StatusServiceUnavailable && r.Reason == "roster-stale":
		return false, false
	}
	if r.Code != http.StatusForbidden || r.Reason != reason || r.Proto == "HTTP/1.1" && !r.Close {
		s.t.Errorf("%d %s", r.Code, r.Raw)
	}
	return true, false
}

func TestARevokedDeviceIsNotStoredForLongerThanTheRosterMayBeOld(t *testing.T) {
	const most = 2 * time.Second
	s := open(t, func(c *gateway.Config) { c.RosterMaxAge = most }, "bad")
	c := s.device("bad")
	s.eventually("it is stored", func() bool { return s.post(c, "/v1/telemetry", typeJSON, message(1, 1, "")).Code == 200 })
	s.declare(event.DeviceRevoked{No: s.nos["bad"]})
	began, seq := time.Now(), 1
	s.eventually("it is refused", func() bool {
		sent := time.Now()
		seq++
		out, stored := s.shutOut(c, "revoked", message(1, seq, ""))
		if stored && sent.Sub(began) > most {
			t.Errorf("stored %v after it was revoked", sent.Sub(began))
		}
		return out
	})
}

func TestARevokedDevicesOpenConnectionEnds(t *testing.T) {
	s := open(t, nil, "bad")
	c := s.kept(s.ca.Device("bad"))
	if r := s.post(c, "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	if s.metric("muster_gateway_connections") != 1 {
		t.Fatal("it keeps its connection")
	}
	s.declare(event.DeviceRevoked{No: s.nos["bad"]})
	s.eventually("the connection ends", func() bool { return s.metric("muster_gateway_connections") == 0 })
}

func TestOnlyPostAndOnlyTheEndpoints(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	for _, x := range []struct {
		method, path string
		code         int
	}{{"GET", "/v1/telemetry", 405}, {"PUT", "/v1/events", 405}, {"POST", "/", 404}, {"GET", "/metrics", 404}, {"POST", "/v1/telemetry/", 404}, {"POST", "/v1//telemetry", 404}} {
		req, err := http.NewRequest(x.method, s.url(x.path), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if r.StatusCode != x.code || (x.code == 405) != (r.Header.Get("Allow") == "POST") || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %v", x.method, x.path, r.StatusCode, r.Header)
		}
	}
	s.balanced()
}

func TestWatermarksStandInEveryPartition(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.WatermarkEvery, c.Region = 20*time.Millisecond, "eu-west" }, "boiler-1")
	c := s.device("boiler-1")
	if r := s.post(c, "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, []byte("{")); r.Code != 400 {
		t.Fatal(r.Raw)
	}
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
		s.eventually("each partition has a watermark that tells of both", func() bool {
			seen := map[int32]bool{}
			for _, r := range s.records(topic) {
				if !record.IsControl(string(header(r, record.HeaderType))) {
					continue
				}
				m, err := event.DecodeWatermark(r.Value)
				if err != nil || r.Key != nil || m.Gateway != "gateway-under-test" || m.Region != "eu-west" || m.Time != r.Timestamp.UnixMilli() {
					t.Fatalf("%+v, key %v, %v", m, r.Key, err)
				}
				if m.Accepted == 1 && m.Refused["malformed"] == 1 {
					seen[r.Partition] = true
				}
			}
			return len(seen) == partitions
		})
	}
}

func TestARecordCarriesATraceparentOnlyWhenSampled(t *testing.T) {
	exported := make(chan struct{}, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		exported <- struct{}{}
	}))
	defer collector.Close()
	s := open(t, func(c *gateway.Config) { c.Ops.OTLPEndpoint, c.Ops.TraceRatio = collector.URL, 0 }, "boiler-1")
	c := s.device("boiler-1")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for i, parent := range []string{"", "00-" + trace + "-00f067aa0ba902b7-00", "00-" + trace + "-00f067aa0ba902b7-01", "nonsense"} {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, ""), "traceparent", parent); r.Code != 200 {
			t.Fatal(r.Raw)
		}
	}
	for i, r := range s.records(record.TopicTelemetry) {
		got := string(header(r, record.HeaderTraceparent))
		if want := i == 2; want != strings.HasPrefix(got, "00-"+trace+"-") || (got != "") != want || strings.Contains(got, "00f067aa0ba902b7") {
			t.Errorf("record %d: %q", i, got)
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-exported:
	default:
		t.Error("no span was exported")
	}
}

func TestDevicesCanAskForSoManyTracesAndNoMore(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	s := open(t, func(c *gateway.Config) {
		c.Ops.OTLPEndpoint, c.Ops.TraceRatio = collector.URL, 0
		c.Limits.DeviceMessages, c.Limits.DeviceMessagesBurst = 1e6, 1e6
	}, "boiler-1")
	c := s.device("boiler-1")
	const sent = 400
	began := time.Now()
	for i := range sent {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, ""), "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"); r.Code != 200 {
			t.Fatal(r.Raw)
		}
	}
	traced := 0
	for _, r := range s.records(record.TopicTelemetry) {
		if len(header(r, record.HeaderTraceparent)) > 0 {
			traced++
		}
	}
	if most := 50 + int(20*time.Since(began).Seconds()) + 1; traced < 50 || traced > most {
		t.Errorf("%d of %d messages are traced, want 50 to %d", traced, sent, most)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestAStoppedGatewayHasAnsweredAndFlushed(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	var answered atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			r, err := s.try(c, "/v1/telemetry", typeJSON, bytes.NewReader(message(1, i, "")))
			if err != nil {
				return // refused at the door: it has stopped
			}
			if r.Code == 200 {
				answered.Add(1)
			}
		}
	}()
	s.eventually("some are stored", func() bool { return answered.Load() > 5 })
	if err := s.stop(); err != nil {
		t.Errorf("an ordered stop: %v", err)
	}
	<-done
	if got, want := len(s.records(record.TopicTelemetry)), int(answered.Load()); got < want {
		t.Errorf("%d records for %d answers", got, want)
	}
}

func TestMetricsAreNamedAsPrometheusWantsThem(t *testing.T) {
	s := open(t, nil)
	problems, err := testutil.GatherAndLint(s.process.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "muster_gateway_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
