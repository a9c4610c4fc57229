//go:build linux

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/sink"
)

// partitions of the log, as the local stack has them.
const partitions = 4

// site is a log with a registry's events in it, and what stands around it.
type site struct {
	b      testing.TB
	ca     *gatewaytest.Authority
	broker *process
	addr   string // of the broker
	log    *kgo.Client

	n    uint64
	prev [32]byte
}

func newSite(b testing.TB) *site { return newSiteIn(b, b.TempDir()) }

// newSiteIn has its log in a folder that stays.
func newSiteIn(b testing.TB, dir string) *site {
	b.Helper()
	s := &site{b: b, broker: start(b, "log", order{Dir: dir})}
	s.addr = s.broker.line()
	var err error
	s.log, err = kgo.NewClient(append(eventlog.Config{Brokers: []string{s.addr}}.Options(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MaxBufferedRecords(50_000), kgo.ProducerBatchCompression(kgo.Lz4Compression()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.log.Close)
	ids, err := eventlog.EnsureTopics(b.Context(), s.log, eventlog.Topics(partitions, true))
	if err != nil {
		b.Fatal(err)
	}
	for i, name := range []string{record.TopicTelemetry, record.TopicEvents} {
		id := ids[name]
		s.declare(event.TopicDefined{Name: name, ID: id[:], Gen: uint16(i + 1), Partitions: partitions})
	}
	return s
}

// end frees what a site took before the next one begins.
func (s *site) end() {
	s.log.Close()
	s.broker.end()
}

// declare writes events of the registry.
func (s *site) declare(bodies ...event.Body) {
	s.b.Helper()
	for _, body := range bodies {
		s.n++
		value, headers, err := event.Registry{N: s.n, Prev: s.prev, Time: time.Now().UnixMilli(), Who: "bench", Why: "bench", Body: body}.Encode()
		if err != nil {
			s.b.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		s.produce(rec)
		s.prev = event.Chain(value)
	}
	s.flush()
}

func (s *site) produce(rec *kgo.Record) {
	s.log.Produce(context.Background(), rec, func(_ *kgo.Record, err error) {
		if err != nil {
			s.b.Error(err)
		}
	})
}

func (s *site) flush() {
	s.b.Helper()
	if err := s.log.Flush(s.b.Context()); err != nil {
		s.b.Fatal(err)
	}
}

func deviceName(i int) string { return "bench-" + strconv.Itoa(i) }

// enrol gives n devices of a profile their certificates and their place in the registry.
func (s *site) enrol(n int, profile uint16) {
	s.b.Helper()
	s.ca = gatewaytest.NewAuthority(s.b)
	var all []event.Body
	for i := range n {
		s.ca.Device(deviceName(i))
		all = append(all, event.DeviceEnrolled{Device: deviceName(i), No: uint32(i + 1), Cohort: "bench", Profile: profile})
	}
	s.declare(all...)
}

// define publishes a profile as the schema controller does, table first.
func (s *site) define(no uint16, p warehouse.Profile, houses ...*warehouse.Warehouse) {
	s.b.Helper()
	for _, w := range houses {
		if err := w.EnsureProfile(s.b.Context(), p); err != nil {
			s.b.Fatal(err)
		}
	}
	all := []event.Body{event.ProfileDefined{Profile: no, Name: p.Name}}
	for _, m := range p.Metrics {
		all = append(all, event.MetricAdded{Profile: no, Metric: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
	s.declare(all...)
}

// gateway starts one as it ships. Only the bound on one device's rate is off: a device stands for a thousand here.
func (s *site) gateway() (p *process, addr string) {
	s.b.Helper()
	server := s.ca.Server("server")
	cfg := gateway.DefaultConfig()
	cfg.Ops.Listen, cfg.Listen, cfg.MQTT.Listen, cfg.Log.Brokers = freeAddr(s.b), freeAddr(s.b), "", []string{s.addr}
	cfg.TrustDomain, cfg.Name = gatewaytest.TrustDomain, "bench"
	cfg.TLS.Certificate, cfg.TLS.Key, cfg.TLS.ClientCA = server.Cert, server.Key, s.ca.CA()
	cfg.Limits.DeviceMessages, cfg.Limits.DeviceMessagesBurst = 1e6, 1e6
	cfg.Limits.DeviceBytes, cfg.Limits.DeviceBytesBurst = 1e12, 1e12
	return part(s.b, "gateway", cfg.Ops.Listen, cfg), cfg.Listen
}

// sink starts one as it ships, in a group of its own.
func (s *site) sink(h *house) *process {
	s.b.Helper()
	cfg := sink.DefaultConfig()
	cfg.Ops.Listen, cfg.Log.Brokers, cfg.Warehouse, cfg.Group = freeAddr(s.b), []string{s.addr}, h.cfg, "bench-"+h.cfg.Database
	return part(s.b, "sink", cfg.Ops.Listen, cfg)
}

// engineProcess is the store's process.
type engineProcess struct {
	*process
	url, secret string
}

func newEngine(b testing.TB) *engineProcess {
	b.Helper()
	dir := b.TempDir()
	e := &engineProcess{process: start(b, "store", order{Dir: filepath.Join(dir, "data")}), secret: filepath.Join(dir, "secret")}
	e.url = "http://" + e.line()
	if err := os.WriteFile(e.secret, []byte(storeSecret), 0o600); err != nil {
		b.Fatal(err)
	}
	return e
}

// house is a database of the store.
type house struct {
	*warehouse.Warehouse
	b   testing.TB
	cfg warehouse.Config
}

func (e *engineProcess) house(name string) *house {
	e.b.Helper()
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.Database, cfg.User, cfg.SecretFile = e.url, name, storeUser, e.secret
	w, err := warehouse.Open(cfg)
	if err != nil {
		e.b.Fatal(err)
	}
	e.b.Cleanup(func() { _ = w.Close() })
	if err := w.Migrate(e.b.Context(), nil); err != nil {
		e.b.Fatal(err)
	}
	return &house{w, e.b, cfg}
}

func (h *house) exec(format string, args ...any) {
	h.b.Helper()
	if err := h.Conn().Exec(h.b.Context(), fmt.Sprintf(format, args...)); err != nil {
		h.b.Fatal(err)
	}
}

func (h *house) count(format string, args ...any) uint64 {
	h.b.Helper()
	var n uint64
	sql := fmt.Sprintf(format, args...)
	if err := h.Conn().QueryRow(h.b.Context(), sql).Scan(&n); err != nil {
		h.b.Fatalf("%s: %v", sql, err)
	}
	return n
}

// messages is how many records the ledger accounts for.
func (h *house) messages() uint64 { return h.count("SELECT count() FROM %s.ledger", h.Database()) }

// quiet waits until the store merges nothing any more.
func (h *house) quiet() {
	h.b.Helper()
	calm := 0
	eventually(h.b, time.Minute, func() (bool, string) {
		if calm++; h.count("SELECT count() FROM system.merges") > 0 {
			calm = 0
		}
		return calm > 10, "the store merges on and on"
	})
}

// optimize merges every table to one part a partition: what a day looks like when it is past.
func (h *house) optimize(tables ...string) {
	for _, t := range tables {
		h.exec("OPTIMIZE TABLE %s.%s FINAL", h.Database(), t)
	}
}
