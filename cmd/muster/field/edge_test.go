package field

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/fleet/edge"
	"muster.dev/platform/daemon"
	"muster.dev/proto/event"
)

// configure is an edge's configuration at the site.
func (s *site) configure(device string) edge.Config {
	s.t.Helper()
	cfg := edge.DefaultConfig()
	cfg.Ops.Listen, cfg.MQTT.Listen = "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", stacktest.FreePort(s.t))
	cfg.Identity, cfg.Data = s.identity(device), s.t.TempDir()
	cfg.Uplink.Gateway = "https://" + s.https
	cfg.Uplink.FirstPause, cfg.Uplink.LastPause, cfg.Uplink.Timeout, cfg.Uplink.AskAgain = 10*time.Millisecond, 200*time.Millisecond, patience, 50*time.Millisecond
	cfg.Intake.Messages, cfg.Intake.Burst, cfg.Intake.Window = 1e6, 1e6, 20*time.Millisecond
	cfg.Heartbeat = time.Hour // what it keeps is the test's
	return cfg
}

// running is an edge in this process.
type running struct {
	*edge.Edge
	process *daemon.Process
	stop    func()
}

func (s *site) edge(cfg edge.Config) *running {
	s.t.Helper()
	p, err := daemon.New(context.Background(), daemon.Settings{Name: "edge", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := edge.Start(context.Background(), p, cfg)
	p.Ready()
	r := &running{Edge: e, process: p}
	r.stop = sync.OnceFunc(func() {
		p.Stop()
		if err := p.Wait(); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(r.stop)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (r *running) empty() bool { c := r.Counts(); return c.Waiting+c.InFlight == 0 }

// letAct lets the edge speak for devices.
func (s *site) letAct(agent string, devices ...string) {
	s.t.Helper()
	g := event.ActingGranted{Agent: s.nos[agent]}
	for _, d := range devices {
		g.Devices = append(g.Devices, s.nos[d])
	}
	s.declare(g)
}

func TestAnEdgeLosesNothingWhileTheGatewayIsAway(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "d-1", "d-2", "d-3", "d-4")
	s.letAct("edge-1", "d-1", "d-2", "d-3", "d-4")
	e := s.edge(s.configure("edge-1")) // the gateway was never there
	c := newTeller(t, e.MQTTAddr())
	said := func(from, to int) {
		var wg sync.WaitGroup
		for _, d := range []string{"d-1", "d-2"} {
			wg.Go(func() { c.say(d, from, to, counted) })
		}
		for _, d := range []string{"d-3", "d-4"} {
			wg.Go(func() { c.say(d, from, to, uncounted) })
		}
		wg.Wait()
	}
	said(0, 100)
	s.start()
	said(100, 200)
	s.stop()
	said(200, 300)
	s.start()
	said(300, 400)
	eventually(t, "the edge still holds messages", e.empty)
	l := s.read()
	l.compare(t, c.told, true)
	if c.count() != 1600 {
		t.Errorf("%d messages were answered for", c.count())
	}
	if len(l.via) != 4 {
		t.Errorf("sent by another: %v", l.via)
	}
	own := 0
	for k := range l.messages {
		if k.device == "edge-1" && k.events {
			own++
		}
	}
	if own == 0 {
		t.Error("the edge has not told of its own start")
	}
	if counted, joined := l.of("d-1"), l.of("d-3"); counted != 400 || joined >= 400 {
		t.Errorf("%d messages of a device that counts, %d of one that does not, for 400 readings each", counted, joined)
	}
}

// of is how many messages the log has of a device.
func (l logged) of(device string) (n int) {
	for k := range l.messages {
		if k.device == device {
			n++
		}
	}
	return n
}

// process runs the edge as a process of its own; the function kills it.
func (s *site) process(cfg edge.Config) (kill func()) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "edge.yaml")
	f, err := os.Create(path)
	if err == nil {
		err = daemon.Dump(f, &cfg)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), edgePart+"="+path)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	s.t.Cleanup(func() {
		kill()
		if s.t.Failed() {
			s.t.Logf("the edge said:\n%s", out)
		}
	})
	return kill
}

func TestAnEdgeThatIsKilledLosesNothingThatItAnsweredFor(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "d-1", "d-2")
	s.letAct("edge-1", "d-1", "d-2")
	s.start()
	cfg := s.configure("edge-1")
	kill := s.process(cfg)
	c := newTeller(t, cfg.MQTT.Listen)
	var wg sync.WaitGroup
	wg.Go(func() { c.say("d-1", 0, 300, counted) })
	wg.Go(func() { c.say("d-2", 0, 300, uncounted) })
	for _, at := range []int{75, 300} {
		eventually(t, "the edge answers for nothing", func() bool { return c.count() >= at })
		kill()
		kill = s.process(cfg)
	}
	wg.Wait()
	var l logged
	eventually(t, "messages that were answered for are lost", func() bool { l = s.read(); return l.whole(c.told) })
	l.compare(t, c.told, false)
	// What its device counts stands once, however often it was said and sent.
	if n := l.of("d-1"); n != 300 {
		t.Errorf("%d messages of 300", n)
	}
}

func TestARevokedEdgeKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "d-1")
	s.letAct("edge-1", "d-1")
	s.start()
	e := s.edge(s.configure("edge-1"))
	c := newTeller(t, e.MQTTAddr())
	c.say("d-1", 0, 50, counted)
	eventually(t, "nothing comes", func() bool { return s.read().whole(c.told) })
	eventually(t, "the edge is not ready", func() bool { return ready(e.process.Addr()) == 200 })
	s.declare(event.DeviceRevoked{No: s.nos["edge-1"]})
	eventually(t, "the edge does not see that it is revoked", func() bool {
		n := c.count()
		c.say("d-1", n, n+1, counted)
		status, text := readiness(e.process.Addr())
		return status == 503 && strings.Contains(text, "uplink")
	})
	before := e.Counts()
	c.say("d-1", 1000, 1050, counted)
	if after := e.Counts(); after.Waiting+after.InFlight < before.Waiting+before.InFlight+50 || after.Dropped.Messages != 0 {
		t.Errorf("50 messages more, and %+v became %+v", before, after)
	}
}

func TestADeviceBeyondTheEdgesAuthorityIsToldSo(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "friend", "stranger")
	s.letAct("edge-1", "friend")
	s.start()
	cfg := s.configure("edge-1")
	cfg.Heartbeat = time.Second
	e := s.edge(cfg)
	c := newTeller(t, e.MQTTAddr())
	c.say("friend", 0, 20, counted)
	c.say("stranger", 0, 1, counted) // nobody knows yet
	p := dial(t, e.MQTTAddr(), "stranger")
	refused := 0
	n := 1
	eventually(t, "the stranger's messages are taken", func() bool {
		n++
		switch err := publish(t, p, "telemetry", counted(n)); {
		case err == nil:
			c.note("stranger", n)
		case strings.Contains(err.Error(), "not let this edge speak for device stranger"):
			refused++
		default:
			t.Fatal(err)
		}
		return refused == 3
	})
	c.say("friend", 20, 40, counted)
	eventually(t, "the edge does not report it", func() bool {
		for k, value := range s.read().messages {
			if k.device == "edge-1" && strings.Contains(string(value), "edge-forbidden") && strings.Contains(string(value), "stranger") {
				return true
			}
		}
		return false
	})
	// An operator lets it: what was kept in the meantime is there, and nothing more is refused.
	s.letAct("edge-1", "friend", "stranger")
	eventually(t, "the edge still holds messages", e.empty)
	eventually(t, "the stranger is refused", func() bool {
		n++
		err := publish(t, p, "telemetry", counted(n))
		if err == nil {
			c.note("stranger", n)
		}
		return err == nil
	})
	eventually(t, "messages that were answered for are lost", func() bool { return s.read().whole(c.told) })
	s.read().compare(t, c.told, true)
}

// When what is kept is full, the oldest gives way: what is missing in the end is what was counted.
func TestAFullEdgeCountsWhatItLoses(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "d-1")
	s.letAct("edge-1", "d-1")
	cfg := s.configure("edge-1")
	cfg.Store.Bytes, cfg.Intake.Body, cfg.Intake.Queue = 32<<10, 1<<10, 1<<20
	e := s.edge(cfg)
	c := newTeller(t, e.MQTTAddr())
	c.say("d-1", 0, 700, counted)
	dropped := e.Counts().Dropped.Messages
	if dropped == 0 {
		t.Fatal("nothing gave way")
	}
	s.start()
	eventually(t, "the edge still holds messages", e.empty)
	l := s.read()
	lost, newest := 0, -1
	for n := range 700 {
		if l.numbers["d-1"][n] == 0 {
			lost++
			newest = n
		}
	}
	// The edge's own start was among what gave way.
	if dropped = e.Counts().Dropped.Messages; uint64(lost) != dropped && uint64(lost) != dropped-1 {
		t.Errorf("%d messages are missing, %d were counted", lost, dropped)
	}
	if newest != lost-1 {
		t.Errorf("%d are missing, the newest of them is %d: not the oldest gave way", lost, newest)
	}
	s.read().compare(t, nil, true)
}

// When the disk is full nothing is answered for that is not kept, and it goes on when there is room.
func TestAnEdgeOnAFullDiskAnswersForNothing(t *testing.T) {
	t.Parallel()
	s := open(t, "edge-1", "d-1")
	s.letAct("edge-1", "d-1")
	cfg := s.configure("edge-1")
	cfg.Store.Bytes, cfg.Intake.Body, cfg.Intake.Queue = 256<<10, 1<<10, 1<<20 // segments that are smaller than the disk
	if err := syscall.Mount("muster-field", cfg.Data, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("SKIPPED: a disk of 64 KiB cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(cfg.Data, 0); err != nil {
			t.Error(err)
		}
	})
	e := s.edge(cfg) // which stops before its disk goes
	c := newTeller(t, e.MQTTAddr())
	p := dial(t, e.MQTTAddr(), "d-1")
	n, refused := 0, 0
	for ; refused < 3; n++ {
		if err := publish(t, p, "telemetry", counted(n)); err == nil {
			c.note("d-1", n)
		} else if strings.Contains(err.Error(), "no space left") {
			refused++
		} else {
			t.Fatal(err)
		}
	}
	if status, text := readiness(e.process.Addr()); status != 503 || !strings.Contains(text, "disk") {
		t.Errorf("it is ready on a full disk: %d %s", status, text)
	}
	s.start()
	eventually(t, "the disk stays full", func() bool {
		n++
		err := publish(t, p, "telemetry", counted(n))
		if err == nil {
			c.note("d-1", n)
		}
		return err == nil
	})
	eventually(t, "the edge still holds messages", e.empty)
	s.read().compare(t, c.told, true)
	if ready(e.process.Addr()) != 200 {
		t.Error("it is not ready though there is room")
	}
}
