package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

func TestMain(m *testing.M) {
	if part := os.Getenv(benchPart); part != "" { // this binary as another process of the benchmark
		os.Exit(playPart(part))
	}
	goleak.VerifyTestMain(m)
}

// site is a gateway with all around it: an authority, a broker, a registry's log, devices.
type site struct {
	t       testing.TB
	ca      *gatewaytest.Authority
	broker  *kafka.Broker
	addr    string // of the broker
	process *daemon.Process
	gateway *gateway.Gateway
	stopped sync.Once
	stopErr error

	log  *kgo.Client // writes the registry's log, reads the others
	n    uint64
	prev [32]byte
	nos  map[string]uint32
}

const partitions = 3

// patience is how long tests wait for what is promised without a time.
const patience = 3 * time.Minute

// open starts a site whose gateway has the devices enrolled. A config may be changed before the start.
func open(t testing.TB, change func(*gateway.Config), devices ...string) *site {
	t.Helper()
	s := &site{t: t, ca: gatewaytest.NewAuthority(t), nos: map[string]uint32{}}
	s.startBroker()
	for _, d := range devices {
		s.enroll(event.DeviceEnrolled{Device: d})
	}
	s.start(change)
	return s
}

func (s *site) startBroker() {
	s.t.Helper()
	var err error
	if s.broker, err = kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.broker.Close)
	s.addr = s.broker.Addr()
	s.prepare()
}

// prepare makes the topics of a new broker.
func (s *site) prepare() {
	t := s.t
	t.Helper()
	var err error
	if s.log, err = kgo.NewClient(eventlog.Config{Brokers: []string{s.addr}}.Options()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.log.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := eventlog.EnsureTopics(ctx, s.log, eventlog.Topics(partitions, true)); err != nil {
		t.Fatal(err)
	}
}

// start starts a gateway and waits until it is ready.
func (s *site) start(change func(*gateway.Config)) {
	s.t.Helper()
	cfg := s.config()
	if change != nil {
		change(&cfg)
	}
	var err error
	s.process, err = daemon.New(context.Background(), daemon.Settings{Name: "gateway", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		s.t.Fatal(err)
	}
	s.gateway, err = gateway.Start(context.Background(), s.process, cfg)
	s.process.Ready()
	s.stopped = sync.Once{}
	s.t.Cleanup(func() { _ = s.stop() })
	if err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the gateway is not ready", func() bool { return s.get("/readyz") == http.StatusOK })
}

func (s *site) config() gateway.Config {
	server := s.ca.Server("server")
	cfg := gateway.DefaultConfig()
	cfg.Ops.Listen, cfg.Listen, cfg.MQTT.Listen, cfg.Log.Brokers = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", []string{s.addr}
	cfg.TrustDomain, cfg.Name = gatewaytest.TrustDomain, "gateway-under-test"
	cfg.TLS.Certificate, cfg.TLS.Key, cfg.TLS.ClientCA = server.Cert, server.Key, s.ca.CA()
	cfg.WatermarkEvery = time.Hour
	// A test is not about how busy its machine is.
	cfg.RosterMaxAge, cfg.AckTimeout, cfg.StallAfter = time.Minute, time.Minute, time.Minute
	cfg.Limits.HandshakeTimeout, cfg.Limits.HeaderTimeout, cfg.Limits.BodyTimeout, cfg.Limits.Grace = time.Minute, time.Minute, time.Minute, time.Minute
	cfg.Limits.DeviceMessages, cfg.Limits.DeviceMessagesBurst = 1e6, 1e6
	cfg.Limits.DeviceBytes, cfg.Limits.DeviceBytesBurst = 1e12, 1e12
	return cfg
}

// stop ends the gateway in order, once, and returns what its process would.
func (s *site) stop() error {
	s.stopped.Do(func() {
		s.process.Stop()
		s.stopErr = s.process.Wait()
	})
	return s.stopErr
}

func (s *site) get(path string) int {
	r, err := http.Get("http://" + s.process.Addr() + path)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			s.t.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// declare writes the next event of the registry's log.
func (s *site) declare(body event.Body) {
	s.t.Helper()
	s.n++
	value, headers, err := event.Registry{N: s.n, Prev: s.prev, Time: time.Now().UnixMilli(), Who: "test", Why: "test", Body: body}.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.log.ProduceSync(ctx, rec).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	s.prev = event.Chain(value)
}

func (s *site) enroll(d event.DeviceEnrolled) {
	s.t.Helper()
	if s.nos[d.Device] == 0 {
		s.nos[d.Device] = uint32(len(s.nos) + 1)
	}
	d.No = s.nos[d.Device]
	if d.Cohort == "" {
		d.Cohort = "test"
	}
	s.declare(d)
}

// issue writes down that the registry gave a device this certificate.
func (s *site) issue(device string, id gatewaytest.Identity, issuer string) string {
	s.t.Helper()
	leaf := id.TLS.Leaf
	serial, spki, csr := leaf.SerialNumber.Text(16), sha256.Sum256(leaf.RawSubjectPublicKeyInfo), sha256.Sum256(leaf.Raw)
	s.declare(event.CertificateIssued{
		No: s.nos[device], Serial: serial, SPKI: spki[:], CSR: csr[:], NotBefore: leaf.NotBefore.UnixMilli(), NotAfter: leaf.NotAfter.UnixMilli(),
		Issuer: issuer, Method: "operator",
	})
	return serial
}

// issuer writes down an authority and gives its name in the registry.
func (s *site) issuer(ca *gatewaytest.Authority) string {
	s.t.Helper()
	id := event.IssuerID(ca.DER())
	s.declare(event.IssuerDefined{Issuer: id, Certificate: ca.DER()})
	return id
}

// kept is a client that has one connection of HTTP/1.1 and takes no other. Go's own leaves a connection when its writer is
// not done soon after the answer.
func (s *site) kept(id gatewaytest.Identity) *http.Client {
	c := s.dialAs(id)
	return &http.Client{Transport: &oneLine{conn: c, read: bufio.NewReader(c)}}
}

// keeping is a client that has one connection: over HTTP/2 any does.
func (s *site) keeping(id gatewaytest.Identity, http2 bool) *http.Client {
	if http2 {
		return s.client(id, true)
	}
	return s.kept(id)
}

// oneLine is for one request at a time, whose answer is read to its end.
type oneLine struct {
	conn net.Conn
	read *bufio.Reader
}

// RoundTrip reads what is answered whether or not the request can be written to its end.
func (l *oneLine) RoundTrip(r *http.Request) (*http.Response, error) {
	written := make(chan error, 1)
	go func() { written <- r.Write(l.conn) }()
	resp, err := http.ReadResponse(l.read, r)
	if err != nil || resp.Close {
		return resp, err // the writer ends with the connection
	}
	return resp, <-written
}

// from is a client that connects from this address of the loopback.
func (s *site) from(address string, id gatewaytest.Identity) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	tr := &http.Transport{TLSClientConfig: s.ca.Client(id), DialContext: dialer.DialContext}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// device is a client with a good certificate; HTTP/1.1 unless told.
func (s *site) device(id string) *http.Client { return s.client(s.ca.Device(id), false) }

func (s *site) client(id gatewaytest.Identity, http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: s.ca.Client(id), ForceAttemptHTTP2: http2, DisableCompression: true, MaxIdleConnsPerHost: 64}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (s *site) url(path string) string { return "https://" + s.gateway.Addr() + path }

// reply is an answer as a device reads it.
type reply struct {
	Code       int
	Header     http.Header
	Proto      string
	Close      bool // the gateway ends the connection
	Raw        string
	Type       string
	Title      string
	Detail     string
	Reason     string
	Outcome    string
	Field      string
	Limit      int64
	Region     string
	Gateway    string
	Status     any // "stored", or the number of a problem
	Values     int
	Duplicate  bool
	Delivery   string
	Regressed  bool `json:"seq_regressed"`
	Faults     int  `json:"quarantined_values"`
	Quarantine []struct {
		Metric, Reason string
		Step           int
		TS             int64
	} `json:"quarantined"`
}

const (
	typeJSON    = "application/json"
	typeMsgPack = "application/msgpack"
	typeCompact = "application/vnd.muster.batch+msgpack"
)

// post sends a body; header is pairs of name and value.
func (s *site) post(c *http.Client, path, contentType string, body []byte, header ...string) reply {
	s.t.Helper()
	r, err := s.try(c, path, contentType, bytes.NewReader(body), header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) try(c *http.Client, path, contentType string, body io.Reader, header ...string) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, s.url(path), body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	out := reply{Code: resp.StatusCode, Header: resp.Header, Proto: resp.Proto, Close: resp.Close, Raw: string(raw)}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("%q is no JSON: %w", raw, err)
	}
	want := "application/json"
	if out.Code != http.StatusOK {
		want = "application/problem+json"
		if out.Detail == "" || out.Type == "" || out.Title == "" || out.Reason == "" || out.Status != float64(out.Code) {
			return out, fmt.Errorf("%d with an incomplete problem: %s", out.Code, raw)
		}
		if again := out.Code == 429 || out.Code == 503; again != (out.Header.Get("Retry-After") != "") {
			return out, fmt.Errorf("%d with Retry-After %q", out.Code, out.Header.Get("Retry-After"))
		}
	}
	if got := out.Header.Get("Content-Type"); got != want {
		return out, fmt.Errorf("%d with Content-Type %q", out.Code, got)
	}
	return out, nil
}

// message is one reading in the easy form.
func message(boot, seq int, more string) []byte {
	return fmt.Appendf(nil, `{"boot":%d,"seq":%d,"readings":[{"ts":%d,"metrics":{"temp_c":21.5,"rssi_dbm":-70}}]%s}`, boot, seq, time.Now().UnixMilli(), more)
}

// records reads what a topic holds now, control records included.
func (s *site) records(topic string) []*kgo.Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	want := 0
	offsets := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		info := s.broker.Cluster().PartitionInfo(topic, p)
		if info == nil {
			s.t.Fatalf("no partition %d of %s", p, topic)
		}
		want += int(info.HighWatermark)
		offsets[p] = kgo.NewOffset().At(0)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.DisableClientMetrics(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var out []*kgo.Record
	for len(out) < want {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, f.Records()...)
	}
	return out
}

// metric sums the series of a metric whose labels include these pairs.
func (s *site) metric(name string, labels ...string) float64 {
	s.t.Helper()
	families, err := s.process.Metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		found = true
		for _, m := range f.GetMetric() {
			match := true
			for i := 0; i+1 < len(labels); i += 2 {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				match = match && has
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if !found {
		s.t.Fatalf("no metric %s", name)
	}
	return sum
}

// balanced holds the books: every request that came in was answered once, nothing stays reserved.
func (s *site) balanced() {
	s.t.Helper()
	s.eventually("requests and bytes stay in flight", func() bool {
		return s.metric("muster_gateway_requests_in_flight") == 0 && s.metric("muster_gateway_bytes_in_flight") == 0 &&
			s.metric("muster_gateway_received_total") == s.metric("muster_gateway_requests_total")
	})
	in, out := s.metric("muster_gateway_received_total"), s.metric("muster_gateway_requests_total")
	if in != out || math.IsNaN(in) {
		s.t.Errorf("%v came in, %v were answered", in, out)
	}
}

// answered is how often a reason was given.
func (s *site) answered(reason string) float64 {
	s.t.Helper()
	return s.metric("muster_gateway_requests_total", "reason", reason)
}
