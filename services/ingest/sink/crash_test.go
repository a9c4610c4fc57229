package sink

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"muster.dev/platform/daemon"
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
	p.cmd.Stderr = &p.out
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	w.t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Each point of the protocol is died at, again and again, while messages come; what is left is then stored by a sink
// that lives. MUSTER_TEST_CRASHES is how many deaths each point gets; the torture gives it more.
func TestADeathAtAnyPointOfTheProtocolLosesAndDoublesNothing(t *testing.T) {
	times := 2
	if s := os.Getenv("MUSTER_TEST_CRASHES"); s != "" {
		var err error
		if times, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.defineProfile(1)
	w.cfg.SessionTimeout = 400 * time.Millisecond
	deaths := 0
	began := time.Now()
	for round := range times {
		for _, point := range CrashPoints() {
			w.send(60)
			cfg := w.cfg
			cfg.CrashAt = point + ":" + strconv.Itoa(1+w.rng.IntN(3))
			p := w.spawn(cfg)
			select {
			case <-p.done:
				deaths++
			case <-time.After(60 * time.Second):
				t.Fatalf("round %d, %s: the sink did not die\n%s", round, cfg.CrashAt, p.out.String())
			}
		}
	}
	t.Logf("%d deaths in %v", deaths, time.Since(began))
	s := w.start(w.cfg)
	w.stored(20 * time.Second)
	s.stop()
	w.audit()
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
	w.stored(20 * time.Second)
	s.stop()
	w.audit()
}
