package field

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack/stacktest"
)

// bridge is a mosquitto that stands where an edge could.
type bridge struct {
	addr string
	dir  string
	log  string
}

// block is the first fenced block of a page's section.
func block(t *testing.T, page, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if ok {
		_, rest, ok = strings.Cut(rest, "\n```"+language+"\n")
	}
	out, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatalf("%s has no %s under %q", page, language, heading)
	}
	return out + "\n"
}

// bridge starts mosquitto with the configuration of the page, and the places of this site in it.
func (s *site) bridge(device string) *bridge {
	t := s.t
	t.Helper()
	b := &bridge{addr: fmt.Sprintf("127.0.0.1:%d", stacktest.FreePort(t)), dir: t.TempDir()}
	conf := block(t, "edge.md", "A mosquitto bridge in its place", "conf")
	for from, to := range map[string]string{
		"listener 1883 127.0.0.1":      "listener " + portOf(t, b.addr) + " 127.0.0.1",
		"address gateway.example:8883": "address " + s.mqtt,
		"remote_clientid site-7":       "remote_clientid " + device,
		"/var/lib/mosquitto/":          b.dir + "/",
		"/etc/muster/site-7":           s.identity(device),
		"restart_timeout 5 60":         "restart_timeout 1 1",
		"log_dest syslog":              "log_dest stderr",
	} {
		if !strings.Contains(conf, from) {
			t.Fatalf("the page's configuration has no %q", from)
		}
		conf = strings.ReplaceAll(conf, from, to)
	}
	path := filepath.Join(b.dir, "mosquitto.conf")
	// It gives up its rights when it is started by root, and then could not read what only root may.
	if os.Getuid() == 0 {
		conf += "user root\n"
	}
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.log = filepath.Join(b.dir, "log")
	f, err := os.Create(b.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "mosquitto"), "-c", path)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = f.Close()
		if text, err := os.ReadFile(b.log); err == nil && t.Failed() {
			t.Logf("mosquitto said:\n%.6000s", text)
		}
	})
	eventually(t, "mosquitto does not listen", func() bool {
		conn, err := net.Dial("tcp", b.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return b
}

// pipe is a mosquitto_pub that publishes each line that it is given.
type pipe struct {
	io.WriteCloser
	cmd *exec.Cmd
}

func (b *bridge) pipe(t *testing.T, topic string) *pipe {
	t.Helper()
	cmd := exec.Command(tool(t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", portOf(t, b.addr), "-q", "1", "-l", "-t", topic)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &pipe{in, cmd}
}

// The contract that people are given: the ingest side away for a minute, and nothing lost, nothing double. In the short form it is
// away for five seconds.
func TestAMosquittoBridgeLosesNothingWhileTheGatewayIsAway(t *testing.T) {
	t.Parallel()
	tool(t, "mosquitto")
	tool(t, "mosquitto_pub")
	away, every := 5*time.Second, 20*time.Millisecond
	if os.Getenv("MUSTER_TORTURE") == "full" {
		away, every = time.Minute, 50*time.Millisecond
	}
	devices := []string{"d-1", "d-2", "d-3"}
	s := open(t, append([]string{"site-1"}, devices...)...)
	s.letAct("site-1", devices...)
	s.start()
	b := s.bridge("site-1")

	stop := make(chan struct{})
	told := map[string]map[int]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, d := range devices {
		p := b.pipe(t, "telemetry/"+d)
		wg.Go(func() {
			said := map[int]bool{}
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-tick.C:
					if _, err := fmt.Fprintf(p, "%s\n", counted(n)); err != nil {
						t.Error(err)
						return
					}
					said[n] = true
					continue
				case <-stop:
				}
				break
			}
			_ = p.Close()
			if err := p.cmd.Wait(); err != nil { // it ends well when everything was answered for
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[d] = said
		})
	}
	eventually(t, "nothing comes through the bridge", func() bool { return len(s.read().via) == len(devices) })
	s.restart(away)
	before := s.read().records
	eventually(t, "nothing comes after the gateway is back", func() bool { return s.read().records > before })
	close(stop)
	wg.Wait()
	var l logged
	eventually(t, "messages are lost", func() bool { l = s.read(); return l.whole(told) })
	l.compare(t, told, true)
	total := 0
	for _, d := range devices {
		if len(told[d]) != l.of(d) {
			t.Errorf("%s: %d messages were said, the log has %d", d, len(told[d]), l.of(d))
		}
		total += len(told[d])
	}
	t.Logf("%d messages, %v without a gateway: none lost, none double; %d records", total, away, l.records)
}
