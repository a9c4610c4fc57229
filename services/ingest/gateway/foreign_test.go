package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
)

// The content type that Telegraf gives to whatever it posts, unless its configuration has another.
const typeTelegraf = "text/plain; charset=utf-8"

// metrics is what Telegraf has of these devices at a time, as JSON.
func metrics(at time.Time, devices ...string) []byte {
	var list []string
	for i, id := range devices {
		list = append(list, fmt.Sprintf(`{"fields":{"temp_c":%d.5,"ok":true},"name":"env","tags":{"device_id":%q,"host":"gw-07"},"timestamp":%d}`, i, id, at.Unix()))
	}
	return []byte(`{"metrics":[` + strings.Join(list, ",") + "]}\n")
}

// lines is the same as line protocol.
func lines(at time.Time, devices ...string) []byte {
	var out bytes.Buffer
	for i, id := range devices {
		fmt.Fprintf(&out, "env,device_id=%s,host=gw-07 temp_c=%d.5,ok=true %d\n", id, i, at.Truncate(time.Second).UnixNano())
	}
	return out.Bytes()
}

// show is what records hold.
func show(t testing.TB, records []*kgo.Record) (all []string) {
	t.Helper()
	for _, r := range records {
		var b batch.Batch
		if err := b.Decode(r.Value); err != nil {
			t.Fatal(err)
		}
		var values []string
		for i := range b.Columns {
			values = append(values, fmt.Sprintf("%s=%s", b.Columns[i].Name, b.AppendValue(nil, i, 0)))
		}
		all = append(all, fmt.Sprintf("%s@%d keyed=%v", strings.Join(values, " "), b.Times[0], b.Keyed))
	}
	return all
}

func TestTelegrafsBodiesAreStoredAsTheirDevices(t *testing.T) {
	now := time.Now()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(lines(now, "boiler-2", "boiler-3"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		kind   string
		body   []byte
		header []string
	}{
		"JSON":                    {typeJSON, metrics(now, "boiler-2", "boiler-3"), nil},
		"JSON as Telegraf has it": {typeTelegraf, metrics(now, "boiler-2", "boiler-3"), nil},
		"lines":                   {typeTelegraf, lines(now, "boiler-2", "boiler-3"), nil},
		"lines in gzip":           {typeTelegraf, zipped.Bytes(), []string{"Content-Encoding", "gzip"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := hall(t, nil)
			c := s.kept(s.ca.Device("edge"))
			for i := range 3 { // it is sent again when Telegraf hears nothing; one connection, whose heads are alike
				r := s.post(c, "/v1/telemetry", tc.kind, tc.body, tc.header...)
				if r.Code != http.StatusOK || r.Values != 4 || r.Delivery != "at-least-once" || r.Duplicate != (i > 0) {
					t.Errorf("%d %s", r.Code, r.Raw)
				}
			}
			for i, device := range []string{"boiler-2", "boiler-3"} {
				records, senders := s.of(record.TopicTelemetry, device)
				want := fmt.Sprintf("env_ok=true env_temp_c=%d.5@%d keyed=false", i, now.Unix()*1000)
				got := show(t, records)
				for j := range got {
					got[j] = sortWords(got[j])
				}
				if len(got) != 1 || got[0] != sortWords(want) || senders[0] != 1 {
					t.Errorf("%s: %q, sent by %v; want %q", device, got, senders, want)
				}
			}
			if n := s.answered("stored") + s.answered("duplicate"); n != 6 {
				t.Errorf("%v messages were counted", n)
			}
			// What comes next on the connection is of our own form, and read as that.
			if r := s.post(c, "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != http.StatusOK || r.Values != 2 {
				t.Errorf("%d %s", r.Code, r.Raw)
			}
			s.balanced()
		})
	}
}

func sortWords(s string) string {
	values, rest, _ := strings.Cut(s, "@")
	words := strings.Fields(values)
	if len(words) == 2 && words[0] > words[1] {
		words[0], words[1] = words[1], words[0]
	}
	return strings.Join(words, " ") + "@" + rest
}

func TestABodyOfOneWhoMayNotBeSpokenForIsRefusedWhole(t *testing.T) {
	s := hall(t, nil)
	c := s.device("edge")
	now := time.Now()
	said := map[string]bool{}
	for _, other := range []string{"stranger", "nobody", "GW-07"} {
		for _, body := range [][]byte{metrics(now, "boiler-2", "boiler-3", other), lines(now, other, "boiler-2")} {
			r := s.post(c, "/v1/telemetry", typeTelegraf, body)
			if r.Code != http.StatusForbidden || r.Reason != "device-mismatch" || r.Close {
				t.Errorf("%s: %d %s", other, r.Code, r.Raw)
			}
			said[r.Raw] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("what is said tells those that there are from others: %v", said)
	}
	for name, tc := range map[string]struct {
		body string
		code int
	}{
		"no JSON":        {`{"metrics":[{"fields":{"a":1}`, http.StatusBadRequest},
		"no line":        {"m,host=boiler-2 a= 1", http.StatusBadRequest},
		"a bad last one": {string(lines(now, "boiler-2")) + "m,host=boiler-2 a=x", http.StatusBadRequest},
		"no device":      {"m,room=b2 a=1", http.StatusUnprocessableEntity},
		"nothing":        {"", http.StatusUnprocessableEntity},
		"no values":      {`{"metrics":[]}`, http.StatusUnprocessableEntity},
		"a null":         {`{"name":"m","fields":{"a":null},"tags":{"host":"boiler-2"},"timestamp":1}`, http.StatusUnprocessableEntity},
		"too many":       {strings.Repeat("m,host=boiler-2 a=1 1\n", 10_001), http.StatusRequestEntityTooLarge},
	} {
		if r := s.post(c, "/v1/telemetry", typeTelegraf, []byte(tc.body)); r.Code != tc.code || r.Field == "" {
			t.Errorf("%s: %d %s", name, r.Code, r.Raw)
		}
	}
	s.said(event.DeviceQuarantined{No: 3, On: true})
	if r := s.post(c, "/v1/telemetry", typeTelegraf, lines(now, "boiler-2", "boiler-3")); r.Code != http.StatusForbidden || r.Reason != "quarantined" {
		t.Errorf("with one that is held off: %d %s", r.Code, r.Raw)
	}
	if n := len(s.records(record.TopicTelemetry)); n != 0 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

func TestOnlyAnAgentsBodiesAreRead(t *testing.T) {
	s := hall(t, nil)
	now := time.Now()
	c := s.device("boiler-2")
	if r := s.post(c, "/v1/telemetry", typeTelegraf, lines(now, "boiler-2")); r.Code != http.StatusUnsupportedMediaType {
		t.Errorf("lines of one who speaks for nobody: %d %s", r.Code, r.Raw)
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, metrics(now, "boiler-2")); r.Code != http.StatusUnprocessableEntity {
		t.Errorf("JSON of one who speaks for nobody: %d %s", r.Code, r.Raw)
	}
	if r := s.post(s.device("edge"), "/v1/events", typeTelegraf, lines(now, "boiler-2")); r.Code != http.StatusUnsupportedMediaType {
		t.Errorf("as events: %d %s", r.Code, r.Raw)
	}
	// Where the path says whose it is, anybody who may send there may.
	for _, to := range []struct{ as, path string }{{"boiler-2", "/v1/telemetry/boiler-2"}, {"edge", "/v1/telemetry/boiler-3"}} {
		if r := s.post(s.device(to.as), to.path, typeTelegraf, []byte(fmt.Sprintf("m,host=gw a=1 %d", now.UnixNano()))); r.Code != http.StatusOK || r.Values != 1 {
			t.Errorf("%+v: %d %s", to, r.Code, r.Raw)
		}
		if r := s.post(s.device(to.as), to.path, typeJSON, metrics(now, "boiler-4")); r.Code != http.StatusUnprocessableEntity {
			t.Errorf("%+v, of another: %d %s", to, r.Code, r.Raw)
		}
	}
	s.balanced()
}

func TestValuesAtFaultAreNamedAndTheOthersStored(t *testing.T) {
	s := hall(t, nil)
	now := time.Now()
	body := fmt.Sprintf("env,host=boiler-2 good=1,large=1e999,count=18446744073709551615u,text=\"%s\" %d\nenv,host=boiler-3 good=1 %d\nenv,host=boiler-3 old=1 %d\n",
		strings.Repeat("x", 2_000), now.UnixNano(), now.UnixNano(), now.Add(-31*24*time.Hour).UnixNano())
	r := s.post(s.device("edge"), "/v1/telemetry", typeTelegraf, []byte(body))
	if r.Code != http.StatusOK || r.Values != 2 || r.Faults != 4 || len(r.Quarantine) != 4 {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	s.balanced()
}

func TestABodyWhoseOutcomeIsOpenIsSentAgainAndThereOnce(t *testing.T) {
	s := hall(t, func(c *gateway.Config) { c.AckTimeout = 500 * time.Millisecond })
	release := s.hold()
	c := s.device("edge")
	body := metrics(time.Now(), "boiler-2", "boiler-3", "boiler-4")
	for range 2 {
		if r := s.post(c, "/v1/telemetry", typeJSON, body); r.Code != http.StatusServiceUnavailable || r.Outcome != "unknown" {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
	}
	release()
	s.eventually("it is not stored", func() bool { return s.post(c, "/v1/telemetry", typeJSON, body).Code == http.StatusOK })
	// What was new since then comes in one body with what was sent before.
	more := append(bytes.TrimSuffix(body, []byte("]}\n")), []byte(`,`+string(metrics(time.Now().Add(-time.Minute), "boiler-2")[len(`{"metrics":[`):]))...)
	if r := s.post(c, "/v1/telemetry", typeJSON, more); r.Code != http.StatusOK || r.Duplicate || r.Values != 8 {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	for device, want := range map[string]int{"boiler-2": 2, "boiler-3": 1, "boiler-4": 1} {
		if records, _ := s.of(record.TopicTelemetry, device); len(records) != want {
			t.Errorf("%d records of %s", len(records), device)
		}
	}
	s.balanced()
}

func TestABodyOfWhichAPartFailsIsNotCalledStored(t *testing.T) {
	s := hall(t, nil)
	c := s.device("edge")
	s.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: 1})
	body := lines(time.Now(), "boiler-2", "boiler-3", "boiler-4")
	r := s.post(c, "/v1/telemetry", typeTelegraf, body)
	if r.Code != http.StatusServiceUnavailable || r.Reason != "log-failed" {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	s.eventually("it is not stored", func() bool { return s.post(c, "/v1/telemetry", typeTelegraf, body).Code == http.StatusOK })
	for _, device := range []string{"boiler-2", "boiler-3", "boiler-4"} {
		if records, _ := s.of(record.TopicTelemetry, device); len(records) != 1 {
			t.Errorf("%d records of %s", len(records), device)
		}
	}
	s.balanced()
}

// Metrics without timestamps may look alike and be two.
func TestMetricsWithoutTimestampsAreNeverTakenForRepeated(t *testing.T) {
	s := hall(t, nil)
	c := s.device("edge")
	for range 2 {
		if r := s.post(c, "/v1/telemetry", typeTelegraf, []byte("m,host=boiler-2 a=1")); r.Code != http.StatusOK || r.Duplicate {
			t.Errorf("%d %s", r.Code, r.Raw)
		}
	}
	if records, _ := s.of(record.TopicTelemetry, "boiler-2"); len(records) != 2 {
		t.Errorf("%d records", len(records))
	}
}

func TestEachDeviceOfABodyPaysForItself(t *testing.T) {
	s := hall(t, func(c *gateway.Config) {
		l := &c.Limits
		l.DeviceMessages, l.DeviceMessagesBurst, l.AgentFactor = 1e-6, 3, 100
	})
	c := s.device("edge")
	now := time.Now()
	at := func(i int) time.Time { return now.Add(time.Duration(-i) * time.Second) }
	for i := range 3 {
		if r := s.post(c, "/v1/telemetry", typeTelegraf, lines(at(i), "boiler-2")); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	if r := s.post(c, "/v1/telemetry", typeTelegraf, lines(at(9), "boiler-3", "boiler-2")); r.Code != http.StatusTooManyRequests || r.Reason != "device-rate" {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	if r := s.post(c, "/v1/telemetry", typeTelegraf, lines(at(9), "boiler-4")); r.Code != http.StatusOK {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}
