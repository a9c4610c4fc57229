package gateway_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// What the benchmark can be told by the environment.
const (
	benchPart     = "MUSTER_BENCH_PART"     // set by the benchmark for its other processes
	benchMessages = "MUSTER_BENCH_MESSAGES" // per measurement, 60000
	benchRounds   = "MUSTER_BENCH_ROUNDS"   // of all measurements, one after another; medians are told; 3
	benchConns    = "MUSTER_BENCH_CONNECTIONS"
	benchSteps    = "MUSTER_BENCH_STEPS" // of a message, of 5 samples each; 11
	benchOnly     = "MUSTER_BENCH_ONLY"  // which are measured, with commas
	benchRate     = "MUSTER_BENCH_RATE"  // messages a second over all; 0 is as many as there can be
)

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// BenchmarkGateway counts the CPU of this process alone: devices and broker are processes of their own. Floors of the same
// run, over the same TLS and the same bodies:
//
//	https    a bare handler that reads the body and answers
//	produce  a bare franz-go client, as many messages at once as there are connections
//	both     a bare handler that produces the body and answers after the acknowledgement
//
// gateway is over HTTPS, mqtt the same messages by MQTT 5 with QoS 1.
//
// It runs once, whatever b.N: say -benchtime 1x.
func BenchmarkGateway(b *testing.B) {
	messages, rounds, conns := setting(benchMessages, 60_000), setting(benchRounds, 3), setting(benchConns, 512)
	s := &site{t: b, ca: gatewaytest.NewAuthority(b), nos: map[string]uint32{}}
	broker := play(b, "broker")
	s.addr = broker.line(b)
	s.prepare()
	steps := setting(benchSteps, gatewaytest.SamplesPerMessage/gatewaytest.MetricsPerStep)
	load := loadOrder{Dir: s.ca.Dir, Connections: conns, Messages: messages, Rate: setting(benchRate, 0), Steps: steps}
	byMQTT := load
	byMQTT.MQTT = true
	for i := range conns {
		id := "bench-" + strconv.Itoa(i)
		s.ca.Device(id)
		s.enroll(event.DeviceEnrolled{Device: id})
	}
	s.start(func(c *gateway.Config) { c.WatermarkEvery = 5 * time.Second })

	client := producer(b, s.addr)
	https := serveBare(b, s.ca, nil)
	both := serveBare(b, s.ca, client)
	measure := map[string]func() result{
		"https":   func() result { return drive(b, load, https) },
		"produce": func() result { return produceBare(b, client, conns, messages, steps) },
		"both":    func() result { return drive(b, load, both) },
		"gateway": func() result { return drive(b, load, s.gateway.Addr()) },
		"mqtt":    func() result { return drive(b, byMQTT, s.gateway.MQTTAddr()) },
	}
	names := []string{"https", "produce", "both", "gateway", "mqtt"}
	if only := os.Getenv(benchOnly); only != "" {
		names = strings.Split(only, ",")
	}
	all := map[string][]result{}
	b.ResetTimer()
	for range rounds {
		for _, name := range names {
			r := measure[name]()
			all[name] = append(all[name], r)
			b.Logf("%-8s %.3f CPU-s/M samples, %.0f k samples/s, p50 %v, p99 %v, peak %d MiB", name, r.cpu, r.rate/1000, r.P50, r.P99, r.peak>>20)
		}
	}
	b.StopTimer()
	median := func(name string, of func(result) float64) float64 {
		v := []float64{math.NaN()} // what was not measured
		for _, r := range all[name] {
			v = append(v, of(r))
		}
		slices.Sort(v)
		v = v[min(1, len(v)-1):] // NaN is the first
		return v[len(v)/2]
	}
	cpu := func(r result) float64 { return r.cpu }
	gw := median("gateway", cpu)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(gw, "CPU-s/Msamples")
	b.ReportMetric(median("both", cpu), "floor-both-CPU-s/Msamples")
	b.ReportMetric(median("https", cpu)+median("produce", cpu), "floor-https+produce-CPU-s/Msamples")
	b.ReportMetric(gw/median("both", cpu), "x-floor-both")
	b.ReportMetric(gw/(median("https", cpu)+median("produce", cpu)), "x-floor-https+produce")
	b.ReportMetric(median("mqtt", cpu), "mqtt-CPU-s/Msamples")
	b.ReportMetric(median("mqtt", cpu)/gw, "x-mqtt/gateway")
	b.ReportMetric(median("gateway", func(r result) float64 { return float64(r.P99) / 1e6 }), "p99-ms")
	b.ReportMetric(median("gateway", func(r result) float64 { return float64(r.peak) / (1 << 20) }), "peak-MiB")
	if stored := s.answered("stored"); stored != s.metric("muster_gateway_received_total") || stored < float64(rounds*messages/conns*conns) {
		b.Errorf("%v stored of %v", stored, s.metric("muster_gateway_received_total"))
	}
}

type result struct {
	loadReport
	cpu  float64 // seconds a million samples
	rate float64 // samples a second
	peak int64   // resident bytes
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak reads the highest resident size since the last call; Linux only, else 0.
func peak() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // begin anew
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// drive has another process send messages to addr.
func drive(b *testing.B, order loadOrder, addr string) result {
	b.Helper()
	order.Addr = addr
	p := play(b, "load")
	p.tell(b, order)
	if got := p.line(b); got != "warm" {
		b.Fatalf("the load says %q", got)
	}
	peak()
	before, began := cpuTime(b), time.Now()
	p.tell(b, "go")
	var r result
	if err := json.Unmarshal([]byte(p.line(b)), &r.loadReport); err != nil {
		b.Fatal(err)
	}
	took, used := time.Since(began), cpuTime(b)-before
	if r.Failed > 0 {
		b.Fatalf("%d of %d failed: %s", r.Failed, order.Messages, r.Said)
	}
	p.end(b)
	samples := float64(order.Messages * order.Steps * gatewaytest.MetricsPerStep)
	r.cpu, r.rate, r.peak = used.Seconds()/samples*1e6, samples/took.Seconds(), peak()
	return r
}

func producer(b *testing.B, addr string) *kgo.Client {
	b.Helper()
	s := eventlog.DefaultProducerSettings()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(s.Linger), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.MaxBufferedRecords(s.MaxBufferedRecords), kgo.DefaultProduceTopic(record.TopicTelemetry))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

func produceBare(b *testing.B, c *kgo.Client, conns, messages, steps int) result {
	b.Helper()
	send := func(n int) {
		var wg sync.WaitGroup
		for i := range conns {
			key := []byte("bench-" + strconv.Itoa(i))
			body := gatewaytest.NewMessageOf(i, steps)
			wg.Go(func() {
				acked := make(chan error, 1)
				for range n / conns {
					c.TryProduce(b.Context(), &kgo.Record{Key: key, Value: slices.Clone(body.Next()), Timestamp: time.Now()}, func(_ *kgo.Record, err error) { acked <- err })
					if err := <-acked; err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	send(messages / 5)
	before, began := cpuTime(b), time.Now()
	send(messages)
	samples := float64(messages / conns * conns * steps * gatewaytest.MetricsPerStep)
	return result{cpu: (cpuTime(b) - before).Seconds() / samples * 1e6, rate: samples / time.Since(began).Seconds()}
}

// serveBare answers every body, after the acknowledgement when there is a client.
func serveBare(b *testing.B, ca *gatewaytest.Authority, c *kgo.Client) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	id := ca.Server("bare-" + strings.ReplaceAll(ln.Addr().String(), ":", "-"))
	server := &http.Server{
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, r.ContentLength)
			if _, err := io.ReadFull(r.Body, body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if c != nil {
				acked := make(chan error, 1)
				key := []byte(r.TLS.PeerCertificates[0].URIs[0].Path[len("/device/"):])
				c.TryProduce(b.Context(), &kgo.Record{Key: key, Value: body, Timestamp: time.Now()}, func(_ *kgo.Record, err error) { acked <- err })
				if err := <-acked; err != nil {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"stored","values":55}`)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeTLS(ln, "", "") }()
	b.Cleanup(func() { _ = server.Close(); <-done })
	return ln.Addr().String()
}

// part is another process of the benchmark; it is told lines and answers in lines.
type part struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	fin sync.Once
}

func play(b *testing.B, name string) *part {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &part{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), benchPart+"="+name)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.end(b) })
	return p
}

func (p *part) tell(b *testing.B, what any) {
	b.Helper()
	if err := json.NewEncoder(p.in).Encode(what); err != nil {
		b.Fatal(err)
	}
}

func (p *part) line(b *testing.B) string {
	b.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", p.cmd.Env[len(p.cmd.Env)-1], err)
	}
	return strings.TrimSpace(line)
}

// end closes its input, at which it ends.
func (p *part) end(b *testing.B) {
	p.fin.Do(func() {
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			b.Error(fmt.Errorf("%s: %w", p.cmd.Env[len(p.cmd.Env)-1], err))
		}
	})
}
