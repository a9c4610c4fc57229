package sink

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// envChild names the configuration of a sink that this binary is to be, instead of running tests.
const envChild = "MUSTER_TEST_SINK"

func TestMain(m *testing.M) {
	if cfg := os.Getenv(envChild); cfg != "" {
		os.Exit(child(cfg))
	}
	if dir := os.Getenv(envStore); dir != "" {
		os.Exit(storeChild(dir))
	}
	code := warehousetest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// child is a sink in a process of its own, so that it can be killed.
func child(path string) int {
	cfg := DefaultConfig()
	if err := daemon.Load(path, &cfg, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if n, err := strconv.Atoi(os.Getenv(envFloor)); err == nil {
		if err := floorMain(cfg, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runSink(ctx, cfg, prometheus.NewRegistry(), testLog(os.Stderr)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func testLog(w *os.File) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// runSink is a whole sink with its roster and its store.
func runSink(ctx context.Context, cfg Config, reg prometheus.Registerer, log *slog.Logger) error {
	people, err := roster.Follow(cfg.Log, roster.Settings{Registerer: reg, Log: log})
	if err != nil {
		return err
	}
	followed := make(chan error, 1)
	rosterCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { followed <- people.Run(rosterCtx) }()
	defer func() {
		stop()
		<-followed
	}()
	house, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return err
	}
	defer house.Close()
	s, err := New(cfg, Settings{Roster: people, Warehouse: house, Registerer: reg, Log: log})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// world is a broker, a registry's log, a store and what was sent.
type world struct {
	t       testing.TB
	cluster *kfake.Cluster // nil on a real broker
	cfg     Config
	house   *warehouse.Warehouse
	cl      *kgo.Client
	adm     *kadm.Client
	rng     *rand.Rand

	chained uint64
	prev    [32]byte
	gens    uint16

	boot    uint32
	seqs    map[uint32]uint64
	sent    []message      // each once, with the first of what was sent under its key
	records map[string]int // by topic
	want    map[string]int // outcomes, as in "muster.telemetry.v1 stored"
}

// message is one that was sent.
type message struct {
	device record.Device
	boot   uint32
	seq    uint64
	value  []byte
	at     time.Time
	values int
}

func name(no uint32) string { return "dev-" + strconv.Itoa(int(no)) }

const parts = 4

// newWorld has any broker: one in memory, or the real one of logtest.Env.
func newWorld(t testing.TB) *world {
	t.Helper()
	_, seeds := broker(t)
	return worldOn(t, nil, seeds, warehousetest.Config(t), chances(seed(t), 0))
}

// broker has the topics and nothing else. One in memory can be watched, and is the local stack's own: with kfake alone a
// member that is killed while it waits for its group may stay in it for ever, for its session begins when its answer is
// delivered.
func broker(t testing.TB) (*kfake.Cluster, []string) {
	t.Helper()
	if logtest.Real() {
		return nil, logtest.Start(t, topics...)
	}
	b, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true, MinSession: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var wanted []eventlog.Topic
	for _, topic := range topics {
		wanted = append(wanted, eventlog.Topic{Name: topic.Name, Partitions: topic.Partitions})
	}
	if _, err := eventlog.EnsureTopics(t.Context(), cl, wanted); err != nil {
		t.Fatal(err)
	}
	return b.Cluster(), []string{b.Addr()}
}

// newFaultyWorld has a broker that does what it is told.
func newFaultyWorld(t testing.TB) *world {
	t.Helper()
	cluster, seeds := logtest.Fake(t, topics)
	return worldOn(t, cluster, seeds, warehousetest.Config(t), chances(seed(t), 0))
}

// lanes runs worlds side by side, for faults that are waited for more than they are worked at. On a real broker, which
// serves one test at a time, they come one after another. A lane's world has a broker that can be watched where it is
// one in memory.
func lanes(t *testing.T, n int, run func(t *testing.T, w *world, lane int)) {
	t.Helper()
	from := seed(t)
	one := func(lane int) {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			cluster, seeds := broker(t)
			run(t, worldOn(t, cluster, seeds, warehousetest.Config(t), chances(from, lane)), lane)
		})
	}
	var all sync.WaitGroup
	for lane := range n {
		if logtest.Real() {
			one(lane)
		} else {
			all.Go(func() { one(lane) })
		}
	}
	all.Wait()
}

// full says that this is the torture and not the tests alone.
func full() bool { return os.Getenv("MUSTER_TORTURE") == "full" }

// times is how often a fault is to be made, where the environment says it.
func times(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a count", variable, s)
	}
	return n
}

// seed is what a test's chances begin with.
func seed(t testing.TB) uint64 {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("MUSTER_TEST_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (MUSTER_TEST_SEED replays it)", n)
	return n
}

func chances(seed uint64, lane int) *rand.Rand { return rand.New(rand.NewPCG(seed, 7+uint64(lane))) }

var topics = []logtest.Topic{{Name: record.TopicTelemetry, Partitions: parts}, {Name: record.TopicEvents, Partitions: parts}, {Name: record.TopicRegistry, Partitions: 1}}

func worldOn(t testing.TB, cluster *kfake.Cluster, seeds []string, store warehouse.Config, rng *rand.Rand) *world {
	t.Helper()
	house, err := warehouse.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = house.Close() })
	if err := house.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cluster: cluster, house: house, rng: rng, seqs: map[uint32]uint64{}, records: map[string]int{}, want: map[string]int{}, boot: 1}
	w.cfg = DefaultConfig()
	w.cfg.Log = eventlog.Config{Brokers: seeds, ClientID: "test"}
	w.cfg.Warehouse = store
	w.cfg.Linger = 30 * time.Millisecond
	w.cfg.Settle = 100 * time.Millisecond
	w.cfg.SessionTimeout = 500 * time.Millisecond
	w.cl, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	w.adm = kadm.NewClient(w.cl)
	w.defineTopics()
	return w
}

// say writes an event into the registry's log.
func (w *world) say(bodies ...event.Body) {
	w.t.Helper()
	for _, body := range bodies {
		value, headers, err := event.Registry{N: w.chained + 1, Prev: w.prev, Time: 1_795_341_850_123, Who: "test", Why: "a test", Body: body}.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		rec := &kgo.Record{Topic: record.TopicRegistry, Value: value}
		for _, h := range headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		w.produce(rec)
		w.chained, w.prev = w.chained+1, event.Chain(value)
	}
}

func (w *world) defineTopics(names ...string) {
	w.t.Helper()
	if len(names) == 0 {
		names = []string{record.TopicTelemetry, record.TopicEvents}
	}
	topics, err := w.adm.ListTopics(w.t.Context(), names...)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range names {
		w.gens++
		id := topics[n].ID
		w.say(event.TopicDefined{Name: n, ID: id[:], Gen: w.gens, Partitions: parts})
	}
}

// defineProfile makes a profile and its table, with a gauge of one decimal, a counter and a text.
func (w *world) defineProfile(no uint16) {
	w.t.Helper()
	p := warehouse.Profile{Name: "p" + strconv.Itoa(int(no)), Metrics: []warehouse.Metric{
		{Name: "temperature", Kind: batch.Int, Scale: 1}, {Name: "uptime", Kind: batch.Int}, {Name: "mode", Kind: batch.Text},
	}}
	if err := w.house.EnsureProfile(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	w.say(event.ProfileDefined{Profile: no, Name: p.Name})
	for _, m := range p.Metrics {
		w.say(event.MetricAdded{Profile: no, Metric: m.Name, Kind: m.Kind, Scale: m.Scale})
	}
}

func (w *world) produce(records ...*kgo.Record) {
	w.t.Helper()
	if err := w.cl.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) record(m message, topic string) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: []byte(name(m.device.No)), Value: m.value, Timestamp: m.at,
		Headers: []kgo.RecordHeader{{Key: record.HeaderDevice, Value: m.device.Append(nil)}},
	}
}

// next is a device's next message: some steps of some metrics, at some time of the last days.
func (w *world) next(device record.Device, days int) message {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := message{device: device, boot: w.boot, seq: w.seqs[device.No], at: now}
	w.seqs[device.No]++
	b := batch.NewBuilder()
	b.SetKey(m.boot, m.seq)
	b.SetFirmware("1.2.3")
	steps := 1 + w.rng.IntN(5)
	for i := range steps {
		at := now.Add(-time.Duration(i) * time.Minute).UnixMilli()
		if days > 0 {
			at -= int64(w.rng.IntN(days)) * dayMS
		}
		at -= int64(i) // no two steps at one time
		b.SetScaled(at, "temperature", int64(200+w.rng.IntN(100)), 1)
		b.SetInt(at, "uptime", int64(m.seq))
		if w.rng.IntN(3) > 0 {
			b.SetText(at, "mode", []string{"idle", "run", "fault"}[w.rng.IntN(3)])
		}
		b.SetFloat(at, "load", w.rng.Float64())
		b.SetBool(at, "door", w.rng.IntN(2) == 0)
		if w.rng.IntN(20) == 0 {
			b.SetScaled(at, "temperature_raw", w.rng.Int64(), 0)
		}
	}
	m.values = b.Len()
	var err error
	if m.value, err = b.AppendTo(nil); err != nil {
		w.t.Fatal(err)
	}
	return m
}

const dayMS = 24 * 60 * 60 * 1000

// send sends n messages of some devices, with retries of some of them, and remembers what has to be stored.
func (w *world) send(n int) {
	w.t.Helper()
	var out []*kgo.Record
	for range n {
		no := 1 + w.rng.Uint32N(40)
		m := w.next(record.Device{No: no, Profile: uint16(no % 3)}, 3)
		w.sent = append(w.sent, m)
		out = append(out, w.record(m, record.TopicTelemetry))
		w.want["stored"]++
		for range w.rng.IntN(3) / 2 * (1 + w.rng.IntN(5)) { // retries, at once and later
			again := m
			if w.rng.IntN(2) == 0 && len(w.sent) > 1 {
				again = w.sent[w.rng.IntN(len(w.sent))]
			}
			out = append(out, w.record(again, record.TopicTelemetry))
			w.want["duplicate"]++
		}
	}
	w.produce(out...)
	w.records[record.TopicTelemetry] += len(out)
}

// sink is a sink in this process.
type running struct {
	t    testing.TB
	reg  *prometheus.Registry
	stop func()
}

func (w *world) start(cfg Config) *running {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: w.t, reg: prometheus.NewRegistry()}
	ended := make(chan error, 1)
	go func() { ended <- runSink(ctx, cfg, r.reg, testLog(os.Stderr)) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("sink: %v", err)
			}
		case <-time.After(patience):
			w.t.Error("the sink does not stop")
		}
	})
	w.t.Cleanup(r.stop)
	return r
}

// calm is for a sink that is to stay a member: a busy machine may keep it from its heartbeats for longer than the short
// session of the tests in which one dies.
func calm(cfg Config) Config {
	cfg.SessionTimeout = DefaultConfig().SessionTimeout
	return cfg
}

// metric sums the series of a metric that have the labels, given as name and value in turn.
func (r *running) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if hasLabels(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// until polls a condition, which is given what it saw for the failure's text.
func (w *world) until(what string, limit time.Duration, ok func() (bool, string)) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for pause := 10 * time.Millisecond; ; pause = min(pause*5/4, 100*time.Millisecond) {
		done, saw := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v; %s", what, limit, saw)
		}
		<-time.After(pause)
	}
}

// count is one number that the store answers.
func (w *world) count(sql string) uint64 {
	w.t.Helper()
	var n uint64
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.house.Conn().QueryRow(ctx, strings.ReplaceAll(sql, "DB.", "`"+w.house.Database()+"`.")).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// stored waits until the ledger accounts for every record that was sent.
func (w *world) stored(limit time.Duration) {
	w.t.Helper()
	total := 0
	for _, n := range w.records {
		total += n
	}
	w.until("every offset is in the ledger", limit, func() (bool, string) {
		n := w.count("SELECT uniqExact(topic_gen, part, off) FROM DB.ledger")
		return n >= uint64(total), fmt.Sprintf("%d of %d", n, total)
	})
}

// audit holds the store to what was sent: the auditor's checks, the outcomes, and each message's values once.
func (w *world) audit() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	report, err := w.house.Audit(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if !report.OK() {
		w.t.Errorf("the auditor finds:\n%s", report)
	}
	got := map[string]int{}
	for _, p := range report.Partitions {
		for o, n := range map[string]uint64{"stored": p.Stored, "duplicate": p.Duplicate, "conflict": p.Conflict, "quarantined": p.Quarantined, "control": p.Control} {
			if n > 0 {
				got[o] += int(n)
			}
		}
	}
	if !maps.Equal(got, w.want) {
		w.t.Errorf("outcomes %v, want %v", got, w.want)
	}
	type key struct {
		device, metric string
		ts             int64
	}
	want := map[key]string{}
	for _, m := range w.sent {
		var b batch.Batch
		if err := b.Decode(m.value); err != nil {
			w.t.Fatal(err)
		}
		for ci := range b.Columns {
			for step, ts := range b.Times {
				if b.Columns[ci].Has(step) {
					want[key{name(m.device.No), string(b.Columns[ci].Name), ts}] = string(b.AppendValue(nil, ci, step))
				}
			}
		}
	}
	// Two messages of one device may share a time; the values then are not compared, the counts are.
	values := 0
	for _, m := range w.sent {
		values += m.values
	}
	if n := w.count("SELECT count() FROM DB.samples"); n != uint64(values) {
		w.t.Errorf("%d samples, want %d", n, values)
	}
	rows, err := w.house.Conn().Query(ctx, "SELECT device, metric, toUnixTimestamp64Milli(ts), value, int, text FROM `"+w.house.Database()+"`.samples")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	bad := 0
	for rows.Next() {
		var k key
		var value float64
		var whole *int64
		var text string
		if err := rows.Scan(&k.device, &k.metric, &k.ts, &value, &whole, &text); err != nil {
			w.t.Fatal(err)
		}
		saw, ok := want[k]
		same := ok && (saw == text || whole != nil && saw == strconv.FormatInt(*whole, 10) || saw == "true" && value == 1 || saw == "false" && value == 0)
		if ok && !same {
			f, err := strconv.ParseFloat(saw, 64)
			same = err == nil && f == value
		}
		if !same && values == len(want) {
			if bad++; bad < 5 {
				w.t.Errorf("%v is %v %v %q, want %q", k, value, whole, text, saw)
			}
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
}

// commit overwrites what the group says of a partition.
func (w *world) commit(topic string, part int32, offset int64, metadata string) {
	w.t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: part, At: offset, LeaderEpoch: -1, Metadata: metadata})
	resp, err := w.adm.CommitOffsets(w.t.Context(), w.cfg.Group, offsets)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) committed(topic string, part int32) (int64, string) {
	w.t.Helper()
	resp, err := w.adm.FetchOffsets(w.t.Context(), w.cfg.Group)
	if err != nil {
		w.t.Fatal(err)
	}
	o, ok := resp.Lookup(topic, part)
	if !ok {
		return -1, ""
	}
	return o.At, o.Metadata
}

// proxy stands between the sink and the store, and can be made to fail as networks do.
type proxy struct {
	ln   net.Listener
	wait sync.WaitGroup

	mu     sync.Mutex // over the three below
	target string
	mode   proxyMode
	conns  map[net.Conn]bool
}

type proxyMode int

const (
	pass      proxyMode = iota
	refuse              // no connection is taken
	blackhole           // taken, and never answered
	cutAnswer           // the question goes through whole, the answer is cut off by a reset
)

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]bool{}}
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.set(refuse)
		p.wait.Wait()
	})
	return p
}

func (p *proxy) addr() string { return "http://" + p.ln.Addr().String() }

// set changes the mode, and ends all connections so that it counts at once.
func (p *proxy) set(m proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	for c := range p.conns {
		reset(c)
	}
}

// quietly changes the mode for connections as they are.
func (p *proxy) quietly(m proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

func (p *proxy) now() proxyMode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

// aim says where connections from now on go.
func (p *proxy) aim(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

func (p *proxy) aimedAt() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		if p.now() == refuse {
			reset(c)
			continue
		}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wait.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(c net.Conn) {
	defer func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
		reset(c)
	}()
	s, err := net.Dial("tcp", p.aimedAt())
	if err != nil {
		return
	}
	defer s.Close()
	var pipes sync.WaitGroup
	pipes.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 && p.now() != blackhole {
				if _, err := s.Write(buf[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_ = s.Close()
	})
	pipes.Go(func() {
		defer reset(c)
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if n > 0 {
				switch p.now() {
				case blackhole:
					continue
				case cutAnswer:
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	pipes.Wait()
}

// behind puts a proxy before the world's store, for sinks of the configuration that it gives.
func (w *world) behind() (*proxy, Config) {
	w.t.Helper()
	p := newProxy(w.t, strings.TrimPrefix(w.cfg.Warehouse.Addr, "http://"))
	cfg := w.cfg
	cfg.Warehouse.Addr = p.addr()
	return p, cfg
}

func kafkaHeader(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}
