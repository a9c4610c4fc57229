package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/sink"
)

func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// spans is an OTLP/HTTP collector.
type spans struct {
	url string
	mu  sync.Mutex // over all
	all []*otlp.Span
}

func collect(t *testing.T) *spans {
	s := &spans{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				s.all = append(s.all, ss.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// named are the spans of a kind whose name starts with something.
func (s *spans) named(kind otlp.Span_SpanKind, prefix string) (out []*otlp.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if span.Kind == kind && strings.HasPrefix(span.Name, prefix) {
			out = append(out, span)
		}
	}
	return out
}

func attributes(span *otlp.Span) map[string]string {
	out := map[string]string{}
	for _, a := range span.Attributes {
		v := a.Value.GetStringValue()
		if v == "" {
			v = fmt.Sprint(a.Value.GetIntValue())
		}
		out[a.Key] = v
	}
	return out
}

func wantAttributes(t *testing.T, span *otlp.Span, want map[string]string) {
	t.Helper()
	got := attributes(span)
	for key, value := range want {
		if v, ok := got[key]; !ok || value != "" && v != value {
			t.Errorf("%s: %s is %q, want %q", span.Name, key, v, value)
		}
	}
	for key := range got { // names of former conventions, which today's dashboards do not know
		if slices.Contains([]string{"messaging.operation", "messaging.destination", "messaging.kafka.message.offset", "messaging.kafka.destination.partition", "messaging.kafka.consumer.group", "db.system", "db.name", "http.method", "http.status_code"}, key) {
			t.Errorf("%s has the outdated attribute %s", span.Name, key)
		}
	}
}

// TestASampledRequestIsSeenFromTheDeviceToTheStore follows one request by its trace, with a gateway and a sink that
// begin no traces themselves: the device's own decision is what counts.
func TestASampledRequestIsSeenFromTheDeviceToTheStore(t *testing.T) {
	const parts = 3
	seeds := logtest.Start(t, logtest.Topic{Name: record.TopicTelemetry, Partitions: parts}, logtest.Topic{Name: record.TopicEvents, Partitions: parts}, logtest.Topic{Name: record.TopicRegistry, Partitions: 1})
	log := eventlog.Config{Brokers: seeds}
	store := warehousetest.Config(t)
	house, err := warehouse.Open(store)
	if err == nil {
		err = house.Migrate(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = house.Close() })
	declare(t, log, parts)
	traces := collect(t)
	ca := gatewaytest.NewAuthority(t)

	server := ca.Server("server")
	gc := gateway.DefaultConfig()
	gc.Ops.OTLPEndpoint, gc.Ops.TraceRatio, gc.Log = traces.url, 0, log
	gc.Listen, gc.MQTT.Listen, gc.Ops.Listen, gc.WatermarkEvery, gc.TrustDomain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", time.Hour, gatewaytest.TrustDomain
	gc.AckTimeout, gc.StallAfter, gc.RosterMaxAge = patience, patience, patience // one try is one trace
	gc.TLS.Certificate, gc.TLS.Key, gc.TLS.ClientCA = server.Cert, server.Key, ca.CA()
	gp := process(t, "gateway", gc.Ops)
	door, err := gateway.Start(t.Context(), gp, gc)
	if err != nil {
		t.Fatal(err)
	}
	gp.Ready()

	tr := &http.Transport{TLSClientConfig: ca.Client(ca.Device("boiler-1"))}
	defer tr.CloseIdleConnections()
	device := &http.Client{Transport: tr, Timeout: patience}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
	post := func(seq int, sampled string) {
		body := fmt.Appendf(nil, `{"boot":1,"seq":%d,"readings":[{"ts":%d,"metrics":{"temp_c":21.5}}]}`, seq, time.Now().UnixMilli())
		eventually(t, "the message is taken", func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+door.Addr()+"/v1/telemetry", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if sampled != "" {
				req.Header.Set("Traceparent", parent+sampled)
			}
			resp, err := device.Do(req)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode == http.StatusOK
		})
	}
	post(0, "0")
	post(1, "1")
	post(2, "")

	// Only the sampled one's record tells of its trace.
	var carried []string
	offset := int64(-1)
	if err := eventlog.Tail(t.Context(), log, eventlog.TailSettings{Topics: []string{record.TopicTelemetry}}, func(r *kgo.Record) error {
		for _, h := range r.Headers {
			if h.Key == record.HeaderTraceparent {
				carried = append(carried, string(h.Value))
				offset = r.Offset
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(carried) != 1 || offset != 1 {
		t.Fatalf("traceparents in the log: %v, the last at offset %d", carried, offset)
	}

	sc := sink.DefaultConfig()
	sc.Ops.OTLPEndpoint, sc.Ops.TraceRatio, sc.Ops.Listen = traces.url, 0, "127.0.0.1:0"
	sc.Log, sc.Warehouse, sc.Linger, sc.SessionTimeout = log, store, 100*time.Millisecond, time.Minute // a busy machine throws no member out
	sp := process(t, "sink", sc.Ops)
	if err := sink.Run(t.Context(), sp, sc); err != nil {
		t.Fatal(err)
	}
	sp.Ready()
	eventually(t, "the rows are in the store", func() bool {
		var n uint64
		err := house.Conn().QueryRow(t.Context(), "SELECT count() FROM `"+store.Database+"`.ledger").Scan(&n)
		return err == nil && n == 3
	})
	for _, p := range []*daemon.Process{gp, sp} { // which hands over what is not exported yet
		p.Stop()
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	}

	received := one(t, traces.named(otlp.Span_SPAN_KIND_SERVER, "POST /v1/telemetry"))
	if fmt.Sprintf("%x-%x", received.TraceId, received.ParentSpanId) != parent[3:3+32+1+16] {
		t.Errorf("the server's span is of %x, under %x", received.TraceId, received.ParentSpanId)
	}
	wantAttributes(t, received, map[string]string{"http.request.method": "POST", "http.route": "/v1/telemetry", "url.scheme": "https", "http.response.status_code": "200", "muster.device": "boiler-1"})
	sent := one(t, traces.named(otlp.Span_SPAN_KIND_PRODUCER, "send "+record.TopicTelemetry))
	if !bytes.Equal(sent.ParentSpanId, received.SpanId) || !bytes.Equal(sent.TraceId, received.TraceId) {
		t.Error("the record's span is not the request's child")
	}
	if want := fmt.Sprintf("00-%x-%x-01", sent.TraceId, sent.SpanId); carried[0] != want {
		t.Errorf("the record carries %s, its span is %s", carried[0], want)
	}
	place := map[string]string{"messaging.system": "kafka", "messaging.destination.name": record.TopicTelemetry, "messaging.destination.partition.id": fmt.Sprint(eventlog.PartitionOf([]byte("boiler-1"), parts))}
	wantAttributes(t, sent, place)
	wantAttributes(t, sent, map[string]string{"messaging.operation.type": "send", "messaging.operation.name": "send", "messaging.kafka.offset": "1", "messaging.message.body.size": ""})

	stored := one(t, traces.named(otlp.Span_SPAN_KIND_CONSUMER, "process "+record.TopicTelemetry))
	if len(stored.Links) != 1 || !bytes.Equal(stored.Links[0].SpanId, sent.SpanId) || !bytes.Equal(stored.Links[0].TraceId, sent.TraceId) {
		t.Fatalf("the plan's span links to %v", stored.Links)
	}
	if l := stored.Links[0]; len(l.Attributes) != 1 || l.Attributes[0].Key != "messaging.kafka.offset" || l.Attributes[0].Value.GetIntValue() != 1 {
		t.Errorf("the link says %v", l.Attributes)
	}
	if len(stored.ParentSpanId) != 0 || bytes.Equal(stored.TraceId, sent.TraceId) {
		t.Error("the plan's span is one request's child: it has many parents")
	}
	wantAttributes(t, stored, place)
	wantAttributes(t, stored, map[string]string{"messaging.operation.type": "process", "messaging.consumer.group.name": sc.Group, "messaging.batch.message_count": "3", "muster.plan": ""})
	inserts := traces.named(otlp.Span_SPAN_KIND_CLIENT, "INSERT ")
	var tables []string
	for _, span := range inserts {
		if !bytes.Equal(span.ParentSpanId, stored.SpanId) {
			t.Errorf("%s is not the plan's child", span.Name)
		}
		wantAttributes(t, span, map[string]string{"db.system.name": "clickhouse", "db.operation.name": "INSERT", "db.namespace": store.Database, "db.collection.name": "", "muster.rows": "3"})
		tables = append(tables, attributes(span)["db.collection.name"])
	}
	if !slices.Equal(tables, []string{"s_other", "ledger"}) {
		t.Errorf("inserts into %v", tables)
	}
}

func one(t *testing.T, all []*otlp.Span) *otlp.Span {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("%d spans, want 1: %v", len(all), all)
	}
	if _, err := trace.SpanIDFromHex(fmt.Sprintf("%x", all[0].SpanId)); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func process(t *testing.T, name string, ops daemon.Config) *daemon.Process {
	t.Helper()
	p, err := daemon.New(context.WithoutCancel(t.Context()), daemon.Settings{Name: name, Config: ops, Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		_ = p.Wait()
	})
	return p
}

// declare writes what the registry would say: the topics' generations, and one device.
func declare(t *testing.T, log eventlog.Config, parts int32) {
	t.Helper()
	cl, err := kgo.NewClient(log.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ids, err := eventlog.EnsureTopics(t.Context(), cl, eventlog.Topics(parts, true)[:2])
	if err != nil {
		t.Fatal(err)
	}
	telemetry, events := ids[record.TopicTelemetry], ids[record.TopicEvents]
	var prev [32]byte
	for i, body := range []event.Body{
		event.TopicDefined{Name: record.TopicTelemetry, ID: telemetry[:], Gen: 1, Partitions: parts},
		event.TopicDefined{Name: record.TopicEvents, ID: events[:], Gen: 2, Partitions: parts},
		event.DeviceEnrolled{Device: "boiler-1", No: 1, Cohort: "test"},
	} {
		value, headers, err := event.Registry{N: uint64(i + 1), Prev: prev, Time: time.Now().UnixMilli(), Who: "test", Why: "test", Body: body}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		prev = event.Chain(value)
	}
}

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
