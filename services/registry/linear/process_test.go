package linear

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/eventlog/logtest"
	"muster.dev/proto/record"
	"muster.dev/services/registry/authority"
)

// site is a log, an authority, and a place for the registries' sockets.
type site struct {
	t       *testing.T
	log     eventlog.Config
	ca      string
	sockets string
	started int

	beat, stale time.Duration // of the registries; 0 is as they ship
	snapshots   uint64        // after how many events
}

// open makes a site with an empty log: that of the embedded broker, which syncs what it acknowledges, or the real one
// of logtest.Env.
func open(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, snapshots: 100, ca: filepath.Join(t.TempDir(), "ca")}
	if _, err := authority.Init(s.ca, authority.DefaultTrustDomain); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.sockets, err = os.MkdirTemp("", "linear-"); err != nil { // the test's own directory is too long a name for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.sockets) })
	if logtest.Real() {
		s.log = eventlog.Config{Brokers: logtest.Start(t, logtest.Topic{Name: record.TopicRegistry, Partitions: 1}, logtest.Topic{Name: record.TopicSnapshots, Partitions: 1})}
		return s
	}
	broker, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), Sync: true, NoAuth: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	s.log = eventlog.Config{Brokers: []string{broker.Addr()}}
	client, err := kgo.NewClient(s.log.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), 1, 1, nil, record.TopicRegistry, record.TopicSnapshots); err != nil {
		t.Fatal(err)
	}
	return s
}

// process is a registry in a process of its own.
type process struct {
	t      *testing.T
	number int // the incarnation, from 1
	socket string
	cmd    *exec.Cmd
	exited chan struct{} // closed once it is gone
	mu     sync.Mutex
	said   []string
}

// start starts a registry that does to itself what sig says when it comes to the point.
func (s *site) start(name string, at point, sig syscall.Signal) *process {
	s.t.Helper()
	s.started++
	p := &process{t: s.t, number: s.started, socket: filepath.Join(s.sockets, name), exited: make(chan struct{})}
	text, err := json.Marshal(order{Name: name, Brokers: s.log.Brokers, CA: s.ca, Socket: p.socket, At: at, Signal: sig, Beat: s.beat, Stale: s.stale, SnapshotEvery: s.snapshots})
	if err != nil {
		s.t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), envOrder+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.said = append(p.said, lines.Text())
			p.mu.Unlock()
			if strings.HasPrefix(lines.Text(), "failed:") {
				s.t.Errorf("registry %d %s", p.number, lines.Text())
			}
		}
		_ = p.cmd.Wait() // killed, mostly
	}()
	s.t.Cleanup(p.kill)
	return p
}

// retire lets it stop in good order, for so long.
func (p *process) retire(limit time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.kill()
	}
}

// kill ends it as it is, and waits for its end.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}

func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(sig) // it may be gone by now
	}
}

// waitUntil waits for a condition, with a deadline.
func waitUntil(t *testing.T, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet: %s", limit, what)
		}
		<-time.After(time.Millisecond)
	}
}
