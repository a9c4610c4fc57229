package sink

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/proto/record"
)

// process is a sink in a child process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

func (w *world) spawn(cfg Config) *process {
	w.t.Helper()
	file, err := os.Create(filepath.Join(w.t.TempDir(), "sink.yaml"))
	if err == nil {
		err = errors.Join(daemon.Dump(file, &cfg), file.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), envChild+"="+file.Name())
	p.cmd.Stderr, p.cmd.SysProcAttr = &p.out, withParent()
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() && p.out.Len() > 0 {
			w.t.Logf("process %d said:\n%s", p.cmd.Process.Pid, p.out.Bytes()[max(0, p.out.Len()-8<<10):])
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// deathsAtOnce is how many worlds die side by side: of ten seconds that a death takes, one is work.
const deathsAtOnce = 10

// leave asks the sink to stop, and waits until it has left its group.
func (p *process) leave() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.kill()
	}
}

// Each point of the protocol is died at, again and again, while messages come. After half of the deaths the next to die
// follows at once, so that there are deaths in recoveries too; after the others comes one that lives, and the time is
// taken until it has stored something. The torture has the timings that ship, for that time to mean something.
// MUSTER_TEST_CRASHES is how many deaths each point gets.
func TestADeathAtAnyPointOfTheProtocolLosesAndDoublesNothing(t *testing.T) {
	decks := times(t, "MUSTER_TEST_CRASHES", 2)
	side := min(decks, deathsAtOnce)
	var mu sync.Mutex // over the three below
	var recovered []time.Duration
	deaths, offsets := map[string]int{}, 0
	began := time.Now()
	lanes(t, side, func(t *testing.T, w *world, lane int) {
		w.defineProfile(1)
		if d := DefaultConfig(); full() {
			w.cfg.SessionTimeout, w.cfg.Linger, w.cfg.Settle = d.SessionTimeout, d.Linger, d.Settle
		}
		points := CrashPoints()
		for deck := lane; deck < decks; deck += side {
			for _, i := range w.rng.Perm(len(points)) {
				took := w.dieOnce(points[i]+":"+strconv.Itoa(1+w.rng.IntN(3)), w.rng.IntN(2) == 0)
				mu.Lock()
				deaths[points[i]]++
				if took > 0 {
					recovered = append(recovered, took)
				}
				mu.Unlock()
			}
		}
		s := w.start(w.cfg)
		w.stored(patience)
		s.stop()
		w.audit()
		mu.Lock()
		defer mu.Unlock()
		offsets += w.records[record.TopicTelemetry]
	})
	t.Logf("%d offsets; deaths in %v: %v; from a death until a successor that was started then had stored something: %s",
		offsets, time.Since(began).Round(time.Second), deaths, spread(recovered))
}

// dieOnce has a sink die at a point. Where another is to live, it is how long that took to store something.
func (w *world) dieOnce(at string, live bool) (took time.Duration) {
	w.t.Helper()
	w.send(60)
	cfg := w.cfg
	cfg.CrashAt = at
	p := w.spawn(cfg)
	select {
	case <-p.done:
	case <-time.After(patience):
		w.t.Fatalf("%s: the sink did not die\n%s", at, p.out.String())
	}
	if !live {
		return 0
	}
	died := time.Now()
	s := w.spawn(w.cfg)
	w.send(20) // a death behind the last plan leaves nothing to do
	w.until("a successor stores", patience, func() (bool, string) {
		return w.count(fmt.Sprintf("SELECT count() FROM DB.ledger WHERE stored_at > fromUnixTimestamp64Milli(%d)", died.UnixMilli())) > 0, "nothing was stored since the death"
	})
	took = time.Since(died)
	s.leave()
	return took
}

func TestADeathAtAnyMomentLosesAndDoublesNothing(t *testing.T) {
	w := newWorld(t)
	w.defineProfile(1)
	w.cfg.SessionTimeout = 400 * time.Millisecond
	for range 6 {
		a, b := w.spawn(w.cfg), w.spawn(w.cfg)
		for range 4 {
			w.send(40)
		}
		<-time.After(time.Duration(w.rng.Int64N(int64(700 * time.Millisecond))))
		a.kill()
		w.send(20)
		<-time.After(time.Duration(w.rng.Int64N(int64(300 * time.Millisecond))))
		b.kill()
	}
	s := w.start(w.cfg)
	w.stored(patience)
	s.stop()
	w.audit()
}
