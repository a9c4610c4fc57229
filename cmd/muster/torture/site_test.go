//go:build linux

package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/cmd/muster/supervise"
	engine "muster.dev/embedded/clickhouse"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/platform/warehouse"
)

// site is a local stack run by the real program, and the processes that the torture runs beside it.
type site struct {
	t      *testing.T
	binary string
	dir    stack.Dir
	offset int
	ports  stack.Ports
	pace   pace
	rng    *rand.Rand // of the faults; one goroutine's

	up      *exec.Cmd
	upEnded chan struct{}
	life    *os.File // writing end of the pipe that our own processes watch
	watch   *os.File

	house *warehouse.Warehouse
	admin *kgo.Client
	tide  tide

	partitions int // of telemetry; set before the start

	mu    sync.Mutex // over the two below
	own   []*proc
	spawn int
}

// pace are the timings of the sinks. Shorter ones than the defaults make more deaths in the same time; they change
// nothing in the protocol.
type pace struct {
	session, linger, settle time.Duration
}

func (p pace) env() []string {
	if p.session == 0 {
		return nil // as it ships
	}
	return []string{
		"MUSTER_SESSION_TIMEOUT=" + p.session.String(), "MUSTER_LINGER=" + p.linger.String(), "MUSTER_SETTLE=" + p.settle.String(),
		"MUSTER_SCHEMA_INTERVAL=2s",
	}
}

var program struct {
	once sync.Once
	path string
	err  error
}

// built builds the program once for all tests of this package; TestMain removes it.
func built(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		dir, err := os.MkdirTemp("", "torture-")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "muster")
		if out, err := exec.Command("go", "build", "-o", program.path, "muster.dev/cmd/muster").CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if program.err != nil {
		t.Fatalf("building the program: %v", program.err)
	}
	return program.path
}

// newSite prepares a stack without starting it.
func newSite(t *testing.T, seed uint64, p pace) *site {
	t.Helper()
	stacktest.Engine(t)
	s := &site{t: t, binary: built(t), dir: stack.Dir(filepath.Join(t.TempDir(), "data")), pace: p, rng: rand.New(rand.NewPCG(seed, 0)), partitions: defaultPartitions}
	s.offset = stacktest.FreeOffset(t)
	var err error
	if s.ports, err = stack.PortsAt(s.offset); err != nil {
		t.Fatal(err)
	}
	if s.watch, s.life, err = supervise.Lifeline(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// patience is how long is waited for what no page gives a time: the machine has other work as well.
const patience = 4 * time.Minute

// environment is this process's without what is meant for it alone.
func (s *site) environment(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MUSTER_") || strings.HasPrefix(e, engine.EnvLibrary+"=") {
			env = append(env, e)
		}
	}
	env = append(env, "MUSTER_TOPICS_PARTITIONS="+strconv.Itoa(s.partitions))
	return append(append(env, s.pace.env()...), more...)
}

// start runs `muster up` and returns when it says that the stack is up.
func (s *site) start() {
	s.t.Helper()
	if err := os.MkdirAll(string(s.dir), 0o700); err != nil {
		s.t.Fatal(err)
	}
	said, err := os.OpenFile(filepath.Join(string(s.dir), "up.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer said.Close()
	s.up = exec.Command(s.binary, "up", "--devices", "0", "--data", string(s.dir), "--listen-offset", fmt.Sprint(s.offset))
	s.up.Env, s.up.Stdout, s.up.Stderr = s.environment(), said, said
	s.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.up.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended, up := make(chan struct{}), s.up
	s.upEnded = ended
	go func() { defer close(ended); _ = up.Wait() }()
	allowed := s.pace.session == 0
	s.eventually(patience, "the stack is up", func(ctx context.Context) error {
		select {
		case <-ended:
			b, _ := os.ReadFile(said.Name())
			s.t.Fatalf("muster up ended:\n%s", b)
		default:
		}
		if !allowed {
			if err := s.allowShortSessions(ctx); err != nil {
				return err
			}
			allowed = true
		}
		b, err := os.ReadFile(said.Name())
		if err == nil && !strings.Contains(string(b), "The stack is up") {
			err = fmt.Errorf("not said yet: %s", b)
		}
		return err
	})
	if s.house == nil {
		if s.house, err = warehouse.Open(stack.Store(s.dir, s.ports)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// logConfig is the log as its administrator reaches it.
func (s *site) logConfig() (eventlog.Config, error) {
	cfg := eventlog.DefaultConfig()
	secret, err := s.dir.Secret(stack.SecretKafkaAdmin)
	if err != nil {
		return cfg, err
	}
	cfg.Brokers, cfg.User, cfg.Secret, cfg.ClientID = []string{stack.Loopback(s.ports.Kafka)}, principals.Admin, secret, "torture"
	return cfg, nil
}

func (s *site) adm() (*kadm.Client, error) {
	if s.admin == nil {
		cfg, err := s.logConfig()
		if err != nil {
			return nil, err
		}
		if s.admin, err = kgo.NewClient(cfg.Options()...); err != nil {
			return nil, err
		}
	}
	return kadm.NewClient(s.admin), nil
}

// allowShortSessions lowers the broker's own bound; the broker keeps it over its deaths.
func (s *site) allowShortSessions(ctx context.Context) error {
	adm, err := s.adm()
	if err != nil {
		return err
	}
	resp, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "group.min.session.timeout.ms", Value: kadm.StringPtr("100")}})
	if err != nil {
		return err
	}
	for _, r := range resp {
		err = errors.Join(err, r.Err)
	}
	return err
}

// eventually tries until ok returns nil; each try has a bound of its own.
func (s *site) eventually(limit time.Duration, what string, ok func(context.Context) error) {
	s.t.Helper()
	if err := s.within(limit, ok); err != nil {
		s.t.Fatalf("%s: not within %s: %v", what, limit, err)
	}
}

func (s *site) within(limit time.Duration, ok func(context.Context) error) error {
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		// Not the test's own context: that has ended when the cleaning up begins, which waits too.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = ok(ctx)
		cancel()
		if err == nil {
			break
		}
	}
	return err
}

// pid is the process that runs a part now. It is of our own program, or an error: a number may have been used again.
func (s *site) pid(part string) (int, error) {
	raw, err := os.ReadFile(s.dir.RunFile(part))
	if err != nil {
		return 0, err
	}
	var st supervise.State
	if err := json.Unmarshal(raw, &st); err != nil {
		return 0, err
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", st.PID))
	if err != nil || exe != s.binary {
		return 0, fmt.Errorf("%s (process %d) does not run now", part, st.PID)
	}
	return st.PID, nil
}

// kill ends a supervised part with no mercy. A part that is dead already is waited for a little.
func (s *site) kill(part string) bool {
	s.t.Helper()
	err := s.within(patience, func(context.Context) error {
		pid, err := s.pid(part)
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	})
	if err != nil {
		s.t.Errorf("killing %s: %v", part, err)
	}
	return err == nil
}

// proc is a process of the torture's own.
type proc struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// run starts a part beside the supervised ones, under the same configuration file and what env changes in it.
func (s *site) run(part string, env ...string) *proc {
	s.t.Helper()
	s.mu.Lock()
	s.spawn++
	name := fmt.Sprintf("%s-%d", part, s.spawn)
	s.mu.Unlock()
	p := &proc{name: name, log: s.dir.Log("extra-" + name), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(s.binary, "process", part, "--config", s.dir.Config(part), "--watch-fd", "3")
	p.cmd.Env = s.environment(append([]string{"MUSTER_OPS_LISTEN=127.0.0.1:0", "MUSTER_LOG_CLIENT_ID=" + name}, env...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{s.watch}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { defer close(p.ended); _ = p.cmd.Wait() }()
	s.mu.Lock()
	s.own = append(s.own, p)
	s.mu.Unlock()
	return p
}

// kill ends it with no mercy, stopped or not, and waits.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill() // fails once it has ended
	<-p.ended
}

// leave asks it to end and waits; past the limit it is killed.
func (p *proc) leave(limit time.Duration) bool {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return true
	case <-time.After(limit):
		p.kill()
		return false
	}
}

func (p *proc) dead() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// killAll ends every process of the stack and our own at once, and waits until their ports are free.
func (s *site) killAll() int {
	s.t.Helper()
	pids := []int{s.up.Process.Pid}
	for _, part := range []string{stack.Sink, stack.Gateway, stack.Registry, stack.Retention, stack.Anomaly, stack.ClickHouse, stack.Kafka} {
		if pid, err := s.pid(part); err == nil {
			pids = append(pids, pid)
		}
	}
	s.mu.Lock()
	own := s.own
	s.own = nil
	s.mu.Unlock()
	for _, p := range own {
		if !p.dead() {
			pids = append(pids, p.cmd.Process.Pid)
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that ended meanwhile is what we want
	}
	<-s.upEnded
	for _, p := range own {
		<-p.ended
	}
	for _, pid := range pids {
		s.eventually(patience, fmt.Sprintf("process %d is gone", pid), func(context.Context) error {
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == s.binary {
				return errors.New("it lives")
			}
			return nil
		})
	}
	// A process that dies lets go of its memory first and of its sockets last.
	s.eventually(patience, "the ports are free", func(context.Context) error {
		for _, port := range []int{s.ports.Gateway, s.ports.Registry, s.ports.ClickHouse, s.ports.Kafka} {
			if !stacktest.Free(port) {
				return fmt.Errorf("port %d is taken", port)
			}
		}
		for part, port := range s.ports.Ops {
			if !stacktest.Free(port) {
				return fmt.Errorf("port %d of %s is taken", port, part)
			}
		}
		return nil
	})
	return len(pids)
}

// close ends what still runs.
func (s *site) close() {
	if s.house != nil {
		s.house.Close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.t.Failed() {
		s.words()
	}
	if s.up != nil {
		s.killAll()
	}
	s.life.Close()
	s.watch.Close()
}

// words shows the ends of the logs.
func (s *site) words() {
	logs, _ := filepath.Glob(filepath.Join(filepath.Dir(s.dir.Log("x")), "*.log"))
	logs = append(logs, filepath.Join(string(s.dir), "up.log"))
	written := map[string]time.Time{}
	for _, path := range logs {
		if st, err := os.Stat(path); err == nil {
			written[path] = st.ModTime()
		}
	}
	slices.SortFunc(logs, func(a, b string) int { return written[b].Compare(written[a]) })
	for _, path := range logs[:min(len(logs), 20)] { // of a thousand sinks the last
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 && !strings.Contains(path, "retention") {
			s.t.Logf("%s ends:\n%s", filepath.Base(path), b[max(0, len(b)-1500):])
		}
	}
}

// listens says whether somebody takes connections there.
func listens(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
