package field

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/embedded/kafka"
	"muster.dev/fleet/edge"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// edgePart names the configuration of an edge that this binary is to be, as a process of its own.
const edgePart = "MUSTER_FIELD_EDGE"

func TestMain(m *testing.M) {
	if path := os.Getenv(edgePart); path != "" {
		cfg := edge.DefaultConfig()
		os.Exit(daemon.Execute(context.Background(), daemon.Program{
			Name: "edge", Config: &cfg, LookupEnv: func(string) (string, bool) { return "", false },
			Run: func(ctx context.Context, p *daemon.Process) error { return edge.Run(ctx, p, cfg) },
		}, []string{"--config", path}, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what is promised without a time.
const patience = 3 * time.Minute

const partitions = 3

// site is a gateway with its log, a registry's log, and an authority.
type site struct {
	t      *testing.T
	ca     *gatewaytest.Authority
	server gatewaytest.Identity
	broker *kafka.Broker
	log    *kgo.Client
	n      uint64
	prev   [32]byte
	nos    map[string]uint32

	https, mqtt string // where the gateway listens, whenever it does
	stop        func() // the gateway
}

// open starts a site whose gateway has the devices enrolled. It does not start the gateway.
func open(t *testing.T, devices ...string) *site {
	t.Helper()
	s := &site{t: t, ca: gatewaytest.NewAuthority(t), nos: map[string]uint32{}, stop: func() {}}
	s.server = s.ca.Server("server")
	s.https, s.mqtt = fmt.Sprintf("127.0.0.1:%d", stacktest.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", stacktest.FreePort(t))
	var err error
	if s.broker, err = kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.broker.Close)
	if s.log, err = kgo.NewClient(eventlog.Config{Brokers: []string{s.broker.Addr()}}.Options()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.log.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := eventlog.EnsureTopics(ctx, s.log, eventlog.Topics(partitions, true)); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		s.nos[d] = uint32(len(s.nos) + 1)
		s.declare(event.DeviceEnrolled{Device: d, No: s.nos[d], Cohort: "site"})
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// start starts the gateway and waits until it is ready.
func (s *site) start() {
	s.t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.Ops.Listen, cfg.Listen, cfg.MQTT.Listen, cfg.Log.Brokers = "127.0.0.1:0", s.https, s.mqtt, []string{s.broker.Addr()}
	cfg.TrustDomain, cfg.Name = gatewaytest.TrustDomain, "gateway-under-test"
	cfg.TLS.Certificate, cfg.TLS.Key, cfg.TLS.ClientCA = s.server.Cert, s.server.Key, s.ca.CA()
	// A test is not about how busy its machine is.
	cfg.RosterMaxAge, cfg.AckTimeout, cfg.StallAfter = time.Minute, time.Minute, time.Minute
	p, err := daemon.New(context.Background(), daemon.Settings{Name: "gateway", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = gateway.Start(context.Background(), p, cfg)
	p.Ready()
	s.stop = func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			s.t.Error(err)
		}
		s.stop = func() {}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the gateway is not ready", func() bool { return ready(p.Addr()) == http.StatusOK })
}

// restart lets the gateway be away for a time.
func (s *site) restart(away time.Duration) {
	s.t.Helper()
	s.stop()
	<-time.After(away)
	s.start()
}

// ready is the status of a process's /readyz, 0 when it does not answer.
func ready(addr string) int {
	status, _ := readiness(addr)
	return status
}

func readiness(addr string) (int, string) {
	r, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		<-time.After(10 * time.Millisecond)
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

// identity writes a device's certificate as `muster device enroll` does.
func (s *site) identity(device string) (dir string) {
	s.t.Helper()
	id := s.ca.Device(device)
	dir = s.t.TempDir()
	for name, from := range map[string]string{"ca.pem": s.ca.CA(), "cert.pem": id.Cert, "key.pem": id.Key} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
}

// key names a message in the log.
type key struct {
	device string
	events bool
	boot   uint32
	seq    uint64
}

// logged is what the log has.
type logged struct {
	messages map[key][]byte
	records  int
	numbers  map[string]map[int]int // by device: how many messages of different keys hold the metric n of this value
	via      map[string]bool        // devices some of whose messages another sent
}

// read reads both logs to their ends. Two records of one key with different bytes fail the test: that would be one message twice.
func (s *site) read() logged {
	s.t.Helper()
	l := logged{messages: map[key][]byte{}, numbers: map[string]map[int]int{}, via: map[string]bool{}}
	for _, topic := range []string{record.TopicTelemetry, record.TopicEvents} {
		for _, r := range s.records(topic) {
			s.enter(&l, r, topic == record.TopicEvents)
		}
	}
	return l
}

func (s *site) enter(l *logged, r *kgo.Record, events bool) {
	s.t.Helper()
	if len(r.Key) == 0 {
		return // a watermark
	}
	k := key{device: string(r.Key), events: events}
	for _, h := range r.Headers {
		if h.Key == record.HeaderVia {
			l.via[k.device] = true
		}
	}
	var b batch.Batch
	if events {
		m, err := event.DecodeMessage(r.Value)
		if err != nil || !m.Keyed {
			return // a sign of the gateway's
		}
		k.boot, k.seq = m.Boot, m.Seq
	} else {
		if err := b.Decode(r.Value); err != nil {
			s.t.Fatal(err)
		}
		if !b.Keyed {
			s.t.Errorf("%s: a message without a key", k.device)
		}
		k.boot, k.seq = b.Boot, b.Seq
	}
	l.records++
	if before, has := l.messages[k]; has {
		if !bytes.Equal(before, r.Value) {
			s.t.Errorf("%+v stands twice, with different bytes", k)
		}
		return
	}
	l.messages[k] = r.Value
	for i := range b.Columns {
		if string(b.Columns[i].Name) != "n" {
			continue
		}
		for _, n := range b.Columns[i].Ints {
			if l.numbers[k.device] == nil {
				l.numbers[k.device] = map[int]int{}
			}
			l.numbers[k.device][int(n)]++
		}
	}
}

// records reads what a topic holds now, and maybe what comes meanwhile: each partition to the end that it has now.
func (s *site) records(topic string) []*kgo.Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	left := map[int32]int64{} // by partition: the end that is not reached yet
	offsets := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		info := s.broker.Cluster().PartitionInfo(topic, p)
		if info == nil {
			s.t.Fatalf("no partition %d of %s", p, topic)
		}
		if info.HighWatermark > 0 {
			left[p] = info.HighWatermark
		}
		offsets[p] = kgo.NewOffset().At(0)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.DisableClientMetrics(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var out []*kgo.Record
	for len(left) > 0 {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			s.t.Fatal(err)
		}
		for _, r := range f.Records() {
			if end, waits := left[r.Partition]; waits && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
			out = append(out, r)
		}
	}
	return out
}

// compare holds what a client was told is kept, by device and number, to what the log has: nothing is lost. What was not
// told may be there or not. Nothing stands twice under two keys, unless its device does not count and sent it again.
func (l logged) compare(t *testing.T, told map[string]map[int]bool, counted bool) {
	t.Helper()
	var lost, twice []string
	for device, numbers := range told {
		for n := range numbers {
			if l.numbers[device][n] == 0 {
				lost = append(lost, fmt.Sprintf("%s/%d", device, n))
			}
		}
	}
	for device, numbers := range l.numbers {
		for n, times := range numbers {
			if times > 1 && counted {
				twice = append(twice, fmt.Sprintf("%s/%d", device, n))
			}
		}
	}
	if len(lost)+len(twice) > 0 {
		t.Errorf("%d lost: %.200s; %d double: %.200s", len(lost), strings.Join(lost, " "), len(twice), strings.Join(twice, " "))
	}
}

// whole says whether all of what was told is there.
func (l logged) whole(told map[string]map[int]bool) bool {
	for device, numbers := range told {
		for n := range numbers {
			if l.numbers[device][n] == 0 {
				return false
			}
		}
	}
	return true
}

// portOf is the port of an address.
func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
