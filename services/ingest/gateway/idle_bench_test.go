package gateway_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// BenchmarkIdleConnections tells what a connection takes of the gateway's memory that has sent one message by MQTT and is silent
// then; devices and broker are processes of their own. MUSTER_BENCH_CONNECTIONS is how many, 2,000 unless told: each takes a
// file, and a process may not open as many as it likes.
//
// It runs once, whatever b.N: say -benchtime 1x.
func BenchmarkIdleConnections(b *testing.B) {
	n := setting(benchConns, 2_000)
	s := &site{t: b, ca: gatewaytest.NewAuthority(b), nos: map[string]uint32{}}
	broker := play(b, "broker")
	s.addr = broker.line(b)
	s.prepare()
	for i := range n {
		id := "bench-" + strconv.Itoa(i)
		s.ca.Device(id)
		s.enroll(event.DeviceEnrolled{Device: id})
	}
	s.start(func(c *gateway.Config) {
		c.MQTT.ConnectionsPerAddress = c.MQTT.Connections // they all come from one
	})
	debug.FreeOSMemory()
	empty := resident()
	load := play(b, "load")
	load.tell(b, loadOrder{Dir: s.ca.Dir, Addr: s.gateway.MQTTAddr(), MQTT: true, Connections: n, Messages: 5 * n, Steps: 11})
	if got := load.line(b); got != "warm" { // each has sent one
		b.Fatalf("the devices say %q", got)
	}
	full := resident()
	goroutines := runtime.NumGoroutine()
	debug.FreeOSMemory()
	collected := resident()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("%d connections: %d MiB resident (%d before them), %d MiB after a collection; heap in use %d MiB, stacks %d MiB, %d goroutines",
		n, full>>20, empty>>20, collected>>20, m.HeapAlloc>>20, m.StackInuse>>20, goroutines)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(full-empty)/float64(n), "resident-B/connection")
	b.ReportMetric(float64(collected-empty)/float64(n), "collected-B/connection")
	load.tell(b, "go") // they end when they have sent the rest
	load.line(b)
	load.end(b)
}

// resident is VmRSS; Linux only, else 0.
func resident() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rest, is := strings.CutPrefix(line, "VmRSS:"); is {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
