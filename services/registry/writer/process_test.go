package writer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/record"
	"muster.dev/services/registry/decide"
)

// childOf makes this binary a registry's writer that enrols devices as fast as it can, and says each that stands.
const childOf = "MUSTER_WRITER_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childOf); args != "" {
		child(strings.Fields(args))
		return
	}
	goleak.VerifyTestMain(m)
}

func child(args []string) {
	w := New(Settings{Log: eventlog.Config{Brokers: args[:1]}, Name: args[1], Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the end of its input is the end of its parent
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			id := fmt.Sprintf("%s-%d-%d", args[1], os.Getpid(), i)
			if out, err := w.Do(ctx, args[1], "", enrol(id)); err == nil {
				fmt.Println(id, out.No)
			}
		}
	}()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// process is a writer in a process of its own.
type process struct {
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, broker, name string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOf+"="+broker+" "+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, lines: make(chan string, 1<<20)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return p
}

// next is the next device that the process says.
func (p *process) next(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if ok {
			return line
		}
	case <-time.After(patience):
	}
	t.Fatalf("no device was enrolled within %v", patience)
	return ""
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// durable is the embedded broker, which syncs what it acknowledges, with the topics of the registry.
func durable(t testing.TB) eventlog.Config {
	t.Helper()
	broker, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), Sync: true, NoAuth: true, MaxMessageBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cfg := eventlog.Config{Brokers: []string{broker.Addr()}}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), 1, 1, nil, record.TopicRegistry, record.TopicSnapshots); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// standsIn checks that what processes said is what the log says, once.
func standsIn(t *testing.T, cfg eventlog.Config, said []string) {
	t.Helper()
	s := fold(t, cfg)
	if ignored := s.Ignored(); len(ignored) > 0 {
		t.Errorf("the log has a second history: %v", ignored)
	}
	for _, line := range said {
		var id string
		var no uint32
		if _, err := fmt.Sscan(line, &id, &no); err != nil {
			t.Fatal(err)
		}
		if d, ok := s.DeviceByNo(no); !ok || string(d.ID) != id {
			t.Errorf("%s was said to be number %d, which is %q", id, no, d.ID)
		}
	}
}

func TestTheOnlyWriterIsBackWithinFiveSecondsOfItsDeath(t *testing.T) {
	cfg := durable(t)
	var said []string
	var took []time.Duration
	for range 4 {
		began := time.Now()
		p := start(t, cfg.Brokers[0], "registry")
		said = append(said, p.next(t))
		took = append(took, time.Since(began))
		for range 20 {
			said = append(said, p.next(t))
		}
		p.signal(t, syscall.SIGKILL)
		for line := range p.lines {
			said = append(said, line)
		}
	}
	standsIn(t, cfg, said)
	t.Logf("the first device after %v", took)
	// Whatever else the machine does has a share in each.
	if least := slices.Min(took[1:]); least > 5*time.Second {
		t.Errorf("back %v after a death at the soonest", least)
	}
}

func TestAStandbyTakesTheDeadWritersPlace(t *testing.T) {
	const limit = 15 * time.Second
	took := takeover(t)
	for range 2 { // whatever else the machine does has a share in it: the least of three counts
		if took > limit {
			t.Logf("the standby decides after %v", took)
			took = min(took, takeover(t))
		}
	}
	t.Logf("the standby decides after %v", took)
	if took > limit {
		t.Errorf("want a takeover within %v", limit)
	}
}

// takeover says how long after a writer's death a standby decides.
func takeover(t *testing.T) time.Duration {
	t.Helper()
	cfg := durable(t)
	p := start(t, cfg.Brokers[0], "first")
	said := []string{p.next(t)}
	heldBy(t, cfg, "first")
	second := New(Settings{Log: cfg, Name: "second", Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := second.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	if err := second.Sync(soon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Do(soon(t), "second", "", enrol("too-early")); !errors.Is(err, ErrStandby) {
		t.Fatalf("beside a living writer it answered %v", err)
	}
	for range 20 {
		said = append(said, p.next(t))
	}
	p.signal(t, syscall.SIGKILL)
	died := time.Now()
	for line := range p.lines {
		said = append(said, line)
	}
	said = append(said, insist(t, second, "after"))
	took := time.Since(died)
	standsIn(t, cfg, said)
	return took
}

// insist asks for a device, as a client would ask again, and gives what was said of it.
func insist(t *testing.T, w *Writer, id string) string {
	t.Helper()
	for ctx := soon(t); ; <-time.After(10 * time.Millisecond) {
		out, err := w.Do(ctx, "second", "", enrol(id))
		if err == nil {
			return fmt.Sprint(id, " ", out.No)
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
}

// The zombie does not die, it sleeps: it wakes up believing that it has the place.
func TestAZombieIsFencedAndThereIsOneHistory(t *testing.T) {
	cfg := durable(t)
	p := start(t, cfg.Brokers[0], "zombie")
	said := []string{p.next(t)}
	p.signal(t, syscall.SIGSTOP)
	second := New(Settings{Log: cfg, Name: "second", Beat: 200 * time.Millisecond, Stale: time.Second, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := second.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	for i := range 50 {
		said = append(said, insist(t, second, fmt.Sprint("second-", i)))
		if i == 10 {
			p.signal(t, syscall.SIGCONT)
		}
	}
	p.signal(t, syscall.SIGKILL)
	for line := range p.lines {
		said = append(said, line)
	}
	if second.Role() != Leader {
		t.Errorf("the second is %s", second.Role())
	}
	standsIn(t, cfg, said)
}

// BenchmarkDo is 64 callers who enrol devices on a broker that syncs what it acknowledges.
func BenchmarkDo(b *testing.B) {
	cfg := durable(b)
	w := New(Settings{Log: cfg, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	if _, err := w.Do(b.Context(), "bench", "", decide.DefineCohort{Cohort: "c"}); err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	var callers sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		callers.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if _, err := w.Do(b.Context(), "bench", "", certified(fmt.Sprint("d-", i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enrolments/s")
}
