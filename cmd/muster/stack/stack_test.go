package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/cmd/muster/supervise"
	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
	"muster.dev/services/anomaly"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/registry/authority"
)

func init() { // it runs on the process's first thread, TestMain need not
	if os.Getenv("MUSTER_TEST_ENDING") != "" {
		endFirstThread()
	}
}

func TestMain(m *testing.M) {
	// The gateway's log and store clients live in processes of their own; nothing here may outlive its test.
	goleak.VerifyTestMain(m)
}

func newDir(t *testing.T) Dir {
	t.Helper()
	d := Dir(filepath.Join(t.TempDir(), "data"))
	if err := d.create(); err != nil {
		t.Fatal(err)
	}
	if err := d.makeSecrets(); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhatTheStackKeepsIsItsOwnersAlone(t *testing.T) {
	d := newDir(t)
	ports, err := PortsAt(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(Site{Dir: d, Ports: ports, Devices: 3}); err != nil {
		t.Fatal(err)
	}
	err = filepath.Walk(string(d), func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		public := filepath.Ext(path) == ".pem" // certificates are for everybody
		if info.IsDir() && info.Mode().Perm() != 0o700 || info.Mode().IsRegular() && !public && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEachProcessCanReadWhatItIsTold(t *testing.T) {
	d := newDir(t)
	ports, err := PortsAt(300)
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(Site{Dir: d, Ports: ports, Devices: 2}); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts() {
		cfg, _ := p.load()
		if err := daemon.Load(d.Config(p.Name), cfg, func(string) (string, bool) { return "", false }); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		raw, err := os.ReadFile(d.Config(p.Name))
		if err != nil {
			t.Fatal(err)
		}
		if want := Loopback(ports.Ops[p.Name]); !strings.Contains(string(raw), want) {
			t.Errorf("%s does not listen on %s", p.Name, want)
		}
		for _, name := range secretNames {
			secret, err := d.Secret(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(raw), secret.Reveal()) {
				t.Errorf("%s: the secret %s stands in the configuration", p.Name, name)
			}
		}
	}
}

// An authority that was made before the stack is for the trust domain that somebody chose; the gateway goes by it, and by
// the region that it is started for.
func TestAStackGoesByTheTrustDomainOfItsAuthority(t *testing.T) {
	d := newDir(t)
	if err := d.makeSecrets(); err != nil {
		t.Fatal(err)
	}
	options, err := d.Authority()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Init(d.CA(), "fleet.example", options...); err != nil {
		t.Fatal(err)
	}
	if err := prepare(Site{Dir: d, Ports: Ports{Ops: map[string]int{}}, Region: "eu"}); err != nil {
		t.Fatal(err)
	}
	cfg := gateway.DefaultConfig()
	if err := daemon.Load(d.Config(Gateway), &cfg, func(string) (string, bool) { return "", false }); err != nil || cfg.TrustDomain != "fleet.example" || cfg.Region != "eu" {
		t.Errorf("the gateway is of trust domain %q and region %q, %v", cfg.TrustDomain, cfg.Region, err)
	}
}

func TestAnAlertmanagerThatIsNamedIsToldOfIncidents(t *testing.T) {
	d := newDir(t)
	for url, want := range map[string]int{"": 0, "http://127.0.0.1:9093": 1} {
		if err := CheckAlertmanager(url); err != nil {
			t.Fatalf("%q: %v", url, err)
		}
		if err := prepare(Site{Dir: d, Ports: Ports{Ops: map[string]int{}}, Alertmanager: url}); err != nil {
			t.Fatal(err)
		}
		cfg := anomaly.DefaultConfig()
		if err := daemon.Load(d.Config(Anomaly), &cfg, func(string) (string, bool) { return "", false }); err != nil {
			t.Fatal(err)
		}
		if n := len(cfg.Deliver.Routes); n != want || n == 1 && cfg.Deliver.Routes[0].Alertmanager.URLs[0] != url || cfg.Log.User != principals.Anomaly {
			t.Errorf("%q: %+v, logs in as %s", url, cfg.Deliver.Routes, cfg.Log.User)
		}
	}
	for _, url := range []string{"127.0.0.1:9093", "ftp://alertmanager", "http://"} {
		if err := CheckAlertmanager(url); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}

func TestSecretsAreMadeOnceAndKept(t *testing.T) {
	d := newDir(t)
	before, err := d.Secret(SecretOperator)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.makeSecrets(); err != nil {
		t.Fatal(err)
	}
	after, _ := d.Secret(SecretOperator)
	if before != after || len(before.Reveal()) != 48 {
		t.Errorf("%d characters, kept: %v", len(before.Reveal()), before == after)
	}
	if _, err := Dir(t.TempDir()).Secret(SecretOperator); err == nil || !strings.Contains(err.Error(), "muster up") {
		t.Error(err)
	}
}

func TestATakenPortIsNamedWithItsHolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	ports := Ports{Gateway: port, Ops: map[string]int{}}
	err = ports.checkFree([]string{Gateway}, 300)
	if err == nil {
		t.Fatal("the port is said to be free")
	}
	for _, want := range []string{"port " + strconv.Itoa(port), "gateway needs", "--listen-offset 400"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, serr := os.Stat("/proc/net/tcp"); serr == nil && !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("%q does not name process %d", err, os.Getpid())
	}
}

func TestManyTakenPortsAreOneShortSentence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	ports := Ports{Kafka: port, Gateway: port, Ops: map[string]int{Kafka: port, ClickHouse: port, Gateway: port}}
	err = ports.checkFree([]string{Kafka, ClickHouse, Gateway}, 0)
	if err == nil || strings.Count(err.Error(), "is taken") != 3 || !strings.Contains(err.Error(), "; and 2 more: stop what holds it") {
		t.Error(err)
	}
}

func TestTheOffsetThatIsAdvisedIsFree(t *testing.T) {
	parts := []string{Gateway}
	// Below the ports that Linux gives to outgoing connections, and below those of other tests' stacks.
	moved, err := PortsAt(4100)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", Loopback(moved.Gateway))
	if err != nil {
		t.Skipf("SKIPPED: the port is another program's: %v", err)
	}
	defer l.Close()
	if got := freeOffset(parts, 4000); got == "--listen-offset 4100" || !strings.HasPrefix(got, "--listen-offset 4") {
		t.Error(got)
	}
	if got := freeOffset(parts, 65535-9107); got != "--listen-offset N" {
		t.Errorf("past the last port: %s", got)
	}
}

func TestASecondSignalHurriesUnlessItIsAnEchoOfTheFirst(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	patient, cancel := hurried(t.Context(), time.Hour)
	defer cancel()
	hasty, cancelHasty := hurried(t.Context(), 0)
	defer cancelHasty()
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-hasty.Done()
	if patient.Err() != nil {
		t.Error("the echo of the first signal hurries")
	}
}

func TestWhatMayBePastedIsQuotedForTheShell(t *testing.T) {
	for in, want := range map[string]string{
		".muster/demo/ca.pem": ".muster/demo/ca.pem", "my data/ca.pem": "'my data/ca.pem'", "it's": `'it'\''s'`, "a$b": "'a$b'", "": "''",
	} {
		if got := word(in); got != want {
			t.Errorf("%q becomes %s, want %s", in, got, want)
		}
	}
}

func TestAnOffsetMovesEveryPortAndStaysInRange(t *testing.T) {
	zero, _ := PortsAt(0)
	moved, err := PortsAt(100)
	if err != nil || moved.Gateway != 8543 || moved.Kafka != 9192 || moved.Ops[Fleet] != 9206 {
		t.Errorf("%+v, %v", moved, err)
	}
	if zero.Gateway != 8443 || zero.Registry != 8080 || zero.EST != 8444 || zero.ClickHouse != 8123 || zero.Kafka != 9092 || len(zero.Ops) != len(moved.Ops) {
		t.Errorf("%+v", zero)
	}
	for _, bad := range []int{-1, 60000} {
		if _, err := PortsAt(bad); err == nil {
			t.Errorf("offset %d is taken", bad)
		}
	}
}

func TestADirectoryHasOneStack(t *testing.T) {
	d := newDir(t)
	if _, err := d.Running(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nothing runs: %v", err)
	}
	release, err := d.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(d.RunFile("stack"), Instance{PID: 4711, Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if i, err := d.Running(); err != nil || i.PID != 4711 {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := d.lock(); err == nil || !strings.Contains(err.Error(), "process 4711") || !strings.Contains(err.Error(), "--data") {
		t.Error(err)
	}
	release()
	if _, err := d.Running(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("the file is left, the lock is not: %v", err)
	}
}

func TestAHoldLastsAsLongAsItsHolder(t *testing.T) {
	d := newDir(t)
	if d.held(Sink) {
		t.Error("nobody holds it")
	}
	if err := os.WriteFile(d.RunFile(Sink), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	stopping := make(chan struct{})
	go func() { // the supervisor's part
		defer close(stopping)
		for !d.held(Sink) {
			<-time.After(time.Millisecond)
		}
		os.Remove(d.RunFile(Sink))
	}()
	release, err := d.Hold(t.Context(), Sink)
	if err != nil {
		t.Fatal(err)
	}
	<-stopping
	if !d.held(Sink) {
		t.Error("it is held")
	}
	if _, err := d.Hold(t.Context(), Sink); err == nil {
		t.Error("held twice")
	}
	release()
	if d.held(Sink) {
		t.Error("it was released")
	}
	if err := os.WriteFile(d.RunFile(Sink), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Hold(ctx, Sink); !errors.Is(err, context.DeadlineExceeded) || d.held(Sink) {
		t.Errorf("a hold that was given up: %v, held %v", err, d.held(Sink))
	}
}

// left is a process that has a directory's configuration on its command line, as a part has. Nobody but the test waits
// for it, and its number is free at once when it has ended.
type left struct {
	pid   int
	stdin io.Closer
	ended chan struct{}
}

// leave starts one that goes on until its standard input is closed.
func leave(t *testing.T, d Dir, part string) left {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read line", d.Config(part))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := left{pid: cmd.Process.Pid, stdin: stdin, ended: make(chan struct{})}
	go func() { defer close(l.ended); _ = cmd.Wait() }()
	t.Cleanup(func() { stdin.Close(); _ = cmd.Process.Kill(); <-l.ended })
	if err := writeJSON(d.RunFile(part), supervise.State{Name: part, PID: l.pid}); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAProcessOfAKilledStackIsWaitedForAndThenKilled(t *testing.T) {
	d := newDir(t)
	if err := writeJSON(d.RunFile(Kafka), supervise.State{Name: Kafka, PID: os.Getpid()}); err != nil { // a number that another program has now
		t.Fatal(err)
	}
	orderly := leave(t, d, Gateway)
	var said []string
	say := func(process, sentence string) {
		said = append(said, process+": "+sentence)
		orderly.stdin.Close()
	}
	if err := d.endLeftovers(t.Context(), time.Hour, say); err != nil {
		t.Error(err)
	}
	if want := []string{fmt.Sprintf("gateway: process %d of a stack that was killed is still stopping; waiting for it", orderly.pid)}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	hangs := leave(t, d, Sink)
	if err := syscall.Kill(hangs.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	said = nil
	if err := d.endLeftovers(t.Context(), 200*time.Millisecond, say); err != nil {
		t.Error(err)
	}
	if len(said) != 2 || said[1] != fmt.Sprintf("sink: process %d does not end: killing it", hangs.pid) {
		t.Errorf("%q", said)
	}
	<-hangs.ended // it was killed: stopped, it would not end by anything else
}

// endFirstThread makes of this process what one is that ends on a busy machine: its first thread is a zombie, so that it has
// no command line, and others hold what it had open. It goes on until its standard input is closed.
func endFirstThread() {
	// Of a port that Linux gives to no outgoing connection the test knows that nobody has taken it since.
	var l net.Listener
	for port := 10_000 + os.Getpid()%1000; ; port++ {
		var err error
		if l, err = net.Listen("tcp", Loopback(port)); err == nil {
			break
		}
		if port == 12_000 {
			os.Exit(1)
		}
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // it is closed
		os.Exit(0)
	}()
	syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

func TestAPortOfAProcessThatIsEndingIsWaitedFor(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("SKIPPED: /proc does not tell of threads here")
	}
	d := newDir(t)
	cmd := exec.Command(os.Args[0], d.Config(Gateway))
	cmd.Env = append(os.Environ(), "MUSTER_TEST_ENDING=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var port int
	if _, err := fmt.Fscanln(stdout, &port); err != nil {
		t.Fatal(err)
	}
	for { // until its first thread has ended
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)); err != nil || len(line) == 0 {
			break
		}
		runtime.Gosched()
	}
	if err := writeJSON(d.RunFile(Gateway), supervise.State{Name: Gateway, PID: cmd.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	say := func(string, string) { close(waits) }
	ended := make(chan error, 1)
	go func() { ended <- d.endLeftovers(t.Context(), time.Hour, say) }()
	select {
	case <-waits:
	case err := <-ended:
		t.Fatalf("it is not waited for: %v", err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if l, err := net.Listen("tcp", Loopback(port)); err != nil {
		t.Errorf("its port is not free: %v", err)
	} else {
		l.Close()
	}
}

func TestAnUnknownProcessIsRefused(t *testing.T) {
	if _, err := Run(t.Context(), "teapot", "x", ""); !errors.Is(err, ErrUnknownProcess) {
		t.Error(err)
	}
}

func TestPathsAreShownAsAPersonWouldTypeThem(t *testing.T) {
	d, err := OpenDir("some/where")
	if err != nil || !filepath.IsAbs(string(d)) || d.Shown() != filepath.Join("some", "where") {
		t.Errorf("%s, %v", d.Shown(), err)
	}
	if far := filepath.Join(t.TempDir(), "x"); Shown(far) != far {
		t.Errorf("%s", Shown(far))
	}
}

func TestAMissingEngineSaysWhatToDo(t *testing.T) {
	if os.Getenv("MUSTER_TEST_UP") != "" {
		err := Up(t.Context(), Order{Dir: Dir(t.TempDir()), Out: os.Stderr, Err: os.Stderr})
		if err == nil || !strings.Contains(err.Error(), "make engine") {
			t.Errorf("%v", err)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestAMissingEngineSaysWhatToDo$")
	cmd.Env = append(os.Environ(), "MUSTER_TEST_UP=1", "MUSTER_CHDB_LIB="+filepath.Join(t.TempDir(), "libchdb.so"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
