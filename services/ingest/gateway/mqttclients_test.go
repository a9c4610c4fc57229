package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/batch"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// Clients that nobody here wrote, unmodified.

// want skips what a laptop may lack and CI may not.
func want(t *testing.T, has bool, what string) {
	t.Helper()
	switch {
	case has:
	case os.Getenv("CI") != "":
		t.Fatalf("CI must have %s", what)
	default:
		t.Skipf("SKIPPED: %s is not here, so that its client was not tried", what)
	}
}

func mosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto_pub")
	want(t, err == nil, "mosquitto_pub (Debian: mosquitto-clients)")
	return path
}

// mosquittoPub runs it as the device, with what it reads from standard input.
func (s *site) mosquittoPub(path string, id gatewaytest.Identity, input string, more ...string) (string, error) {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.gateway.MQTTAddr())
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), path, append([]string{"-h", host, "-p", port, "--cafile", s.ca.CA(), "--cert", id.Cert, "--key", id.Key}, more...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func inLines(boot, n int) string {
	var b strings.Builder
	for seq := range n {
		b.Write(message(boot, seq, ""))
		b.WriteByte('\n')
	}
	return b.String()
}

func TestMosquittoPublishes(t *testing.T) {
	path := mosquitto(t)
	s := open(t, nil, "boiler-1")
	id := s.ca.Device("boiler-1")
	stored := 0
	for boot, v := range []string{"mqttv311", "mqttv5"} {
		for qos := range 2 {
			out, err := s.mosquittoPub(path, id, inLines(10*boot+qos, 20), "-V", v, "-q", strconv.Itoa(qos), "-i", "boiler-1", "-t", "telemetry", "-l")
			if err != nil || out != "" {
				t.Errorf("%s, QoS %d: %v %s", v, qos, err, out)
			}
			stored += 20
			s.eventually("all are stored", func() bool { return s.answered("stored") == float64(stored) })
		}
	}
	// Its defaults: 3.1.1, a client identifier of none; and what others call these topics.
	for i, more := range [][]string{
		{"-t", "telemetry", "-m", string(message(90, 0, ""))},
		{"-t", "t", "--tls-alpn", "mqtt", "-m", string(message(90, 1, ""))},
		{"-t", "telemetry/?content-type=application%2Fjson", "-m", string(message(90, 2, ""))},
		{"-t", "v1/devices/me/telemetry", "-m", `{"temp_c":21.5,"state":"ok"}`},
		{"-t", "telemetry", "-V", "mqttv5", "-D", "publish", "content-type", "application/json", "-D", "publish", "user-property", "muster-backlog", "1", "-m", string(message(10, 0, `,"fw":"1"`))},
		{"-t", "e", "-m", fmt.Sprintf(`{"boot":1,"seq":1,"events":[{"ts":%d,"type":"heartbeat"}]}`, time.Now().UnixMilli())},
	} {
		if out, err := s.mosquittoPub(path, id, "", append(more, "-q", "1")...); i != 4 && (err != nil || out != "") {
			t.Errorf("%q: %v %s", more, err, out)
		} else if i == 4 && !strings.Contains(out, "Implementation specific") { // the key has another payload, and it is told
			t.Errorf("%q: %v %s", more, err, out)
		}
	}
	if got, events := s.stored(record.TopicTelemetry, "boiler-1"), s.stored(record.TopicEvents, "boiler-1"); got != stored+4 || events != 1 {
		t.Errorf("%d and %d records", got, events)
	}
	if out, err := s.mosquittoPub(path, id, "", "-i", "boiler-2", "-t", "telemetry", "-q", "1", "-m", "{}"); err == nil || !strings.Contains(out, "identifier rejected") {
		t.Errorf("under another's identifier: %v %s", err, out)
	}
	s.balanced()
}

// script is a client in another language, that publishes with QoS 1 and does not give up.
type script struct {
	name string
	run  func(t *testing.T) *exec.Cmd
}

var scripts = []script{
	{"paho", func(t *testing.T) *exec.Cmd {
		const python = "/usr/bin/python3"
		want(t, exec.Command(python, "-c", "import paho.mqtt.client").Run() == nil, "paho (Debian: python3-paho-mqtt)")
		return exec.CommandContext(t.Context(), python, filepath.Join("testdata", "clients", "publish.py"))
	}},
	{"MQTT.js", func(t *testing.T) *exec.Cmd {
		node, err := exec.LookPath("node")
		modules, absErr := filepath.Abs(filepath.Join("..", "..", "..", "bin", "clients", "mqttjs", "node_modules"))
		_, statErr := os.Stat(filepath.Join(modules, "mqtt"))
		want(t, err == nil && absErr == nil && statErr == nil, "MQTT.js (.ci/mqttjs fetches it)")
		cmd := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "clients", "publish.js"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
		return cmd
	}},
}

// publish starts it with the lines that it is to send.
func (x script) publish(s *site, version, input string) (done <-chan said) {
	s.t.Helper()
	id := s.ca.Device("boiler-1")
	host, port, err := net.SplitHostPort(s.gateway.MQTTAddr())
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		s.t.Fatal(err)
	}
	order, err := json.Marshal(map[string]any{"version": version, "device": "boiler-1", "host": host, "port": n, "ca": s.ca.CA(), "cert": id.Cert, "key": id.Key, "topic": "telemetry"})
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := x.run(s.t.(*testing.T))
	cmd.Args = append(cmd.Args, string(order))
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	told := make(chan said, 1)
	go func() {
		err := cmd.Wait()
		told <- said{out.String(), err}
	}()
	return told
}

// said is how a script ended.
type said struct {
	out string
	err error
}

// A log that is gone for a while costs such a client nothing: what it was not told of it sends again.
func TestClientsOfOtherLanguagesLoseNothing(t *testing.T) {
	for _, x := range scripts {
		for _, v := range versions {
			t.Run(x.name+" "+v.String(), func(t *testing.T) {
				x.run(t) // skips before anything is started
				t.Parallel()
				s := open(t, func(c *gateway.Config) {
					c.AckTimeout, c.StallAfter, c.RosterMaxAge = 500*time.Millisecond, patience, time.Hour
				}, "boiler-1")
				var down atomic.Bool
				cluster := s.broker.Cluster()
				cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
					cluster.KeepControl()
					if down.Load() {
						return nil, fmt.Errorf("the broker is down"), true // closes the connection
					}
					return nil, nil, false
				})
				const n = 100
				down.Store(true)
				done := x.publish(s, v.String(), inLines(3, n))
				s.eventually("the client is told that nobody knows, or gives up", func() bool { return s.answered("log-silent") > 0 || len(done) > 0 })
				down.Store(false)
				if end := <-done; end.err != nil || !strings.Contains(end.out, fmt.Sprintf("acknowledged %d", n)) {
					t.Fatalf("%v: %s", end.err, end.out)
				}
				seqs := map[uint64]bool{}
				var b batch.Batch
				for _, r := range s.records(record.TopicTelemetry) {
					if string(r.Key) != "boiler-1" {
						continue
					}
					if err := b.Decode(r.Value); err != nil {
						t.Fatal(err)
					}
					seqs[b.Seq] = true
				}
				if len(seqs) != n {
					t.Errorf("%d messages of %d are in the log", len(seqs), n)
				}
			})
		}
	}
}
