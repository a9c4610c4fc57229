package supervise

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is also the program that the tests supervise: with these arguments it serves /readyz until
// it is told to stop, or does worse.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

func child(what string, args []string) int {
	term := make(chan os.Signal, 1)
	if what == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM)
	}
	fmt.Println("child", what, "begins")
	if what == "broken" {
		fmt.Println("cannot find my configuration")
		return 7
	}
	fd, _ := strconv.Atoi(args[len(args)-1])
	stop, err := Watch(fd, func() { fmt.Println("supervisor is gone"); term <- syscall.SIGTERM })
	if err != nil {
		fmt.Println(err)
		return 8
	}
	defer stop()
	if what == "parent" { // supervises a child of its own until it is killed
		s, err := New(DefaultSettings())
		if err != nil {
			return 9
		}
		if err := s.Start(context.Background(), program("grandchild", "good", args[0], args[1])); err != nil {
			fmt.Println(err)
			return 9
		}
		args = args[2:]
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		fmt.Println(err)
		return 9
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	<-term
	fmt.Println("child", what, "ends")
	return 0
}

// long is how long is waited for what comes on any machine, busy or not.
const long = 2 * time.Minute

func program(name, what, addr, log string, before ...string) Program {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Program{
		Name: name, Executable: self, Args: append(append([]string{"child", what}, before...), addr), Log: log,
		Ready: "http://" + addr + "/readyz", StartLimit: long, StopLimit: long,
	}
}

// nextPort is above those that need rights and below those that an outgoing connection is given (32768 on Linux), so that
// a process that is started again finds its own.
var nextPort = 12_000 + os.Getpid()%4000

func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		nextPort++
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(nextPort))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// said collects what the supervisor tells.
type said struct {
	mu      sync.Mutex
	lines   []string
	unready time.Time // of the last change
}

func (s *said) change(st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unready = st.Unready
}

func (s *said) since() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unready
}

func (s *said) say(name, sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, name+": "+sentence)
}

func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func supervisor(t *testing.T) (*Supervisor, *said) {
	t.Helper()
	t.TempDir() // is removed after what is cleaned up later: nothing must be started in it meanwhile
	var heard said
	settings := DefaultSettings()
	settings.Say, settings.Changed, settings.FirstGap = heard.say, heard.change, 10*time.Millisecond
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s, &heard
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", long, what)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestProcessesStopInTheReverseOfTheirStart(t *testing.T) {
	s, heard := supervisor(t)
	dir := t.TempDir()
	for _, name := range []string{"log", "store", "door"} {
		if err := s.Start(t.Context(), program(name, "good", freeAddr(t), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	states := s.States()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, st := range states {
		if alive(st.PID) {
			t.Errorf("%s is left running", st.Name)
		}
	}
	var order []string
	for line := range strings.Lines(heard.all()) {
		if name, rest, _ := strings.Cut(line, ":"); strings.Contains(rest, "stopped in") {
			order = append(order, name)
		}
	}
	if got := strings.Join(order, " "); got != "door store log" {
		t.Errorf("stopped in the order %q", got)
	}
	log, err := os.ReadFile(filepath.Join(dir, "door"))
	if err != nil || !strings.Contains(string(log), "child good ends") {
		t.Errorf("the log holds %q, %v", log, err)
	}
}

func TestAKilledProcessIsStartedAgainAndSaid(t *testing.T) {
	s, heard := supervisor(t)
	p := program("sink", "good", freeAddr(t), filepath.Join(t.TempDir(), "log"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	first := s.States()[0].PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process answers", func() bool {
		st := s.States()[0]
		return st.PID != first && st.Restarts == 1 && Ready(t.Context(), p.Ready) == nil
	})
	if !strings.Contains(heard.all(), "sink: ended (signal: killed); starting it again") {
		t.Errorf("heard %q", heard.all())
	}
}

func TestAProcessIsStartedAgainOnRequest(t *testing.T) {
	s, heard := supervisor(t)
	p := program("fleet", "good", freeAddr(t), filepath.Join(t.TempDir(), "log"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	first := s.States()[0].PID
	s.Restart("nobody", "of no concern")
	s.Restart("fleet", "new certificates")
	eventually(t, "another process answers", func() bool {
		return s.States()[0].PID != first && Ready(t.Context(), p.Ready) == nil
	})
	if !strings.Contains(heard.all(), "fleet: starting it again: new certificates") || strings.Contains(heard.all(), "nobody") {
		t.Errorf("heard %q", heard.all())
	}
}

func TestAProcessThatHangsIsSaidWithItsTime(t *testing.T) {
	s, heard := supervisor(t)
	p := program("store", "good", freeAddr(t), filepath.Join(t.TempDir(), "log"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	pid := s.States()[0].PID
	before := time.Now()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is said", func() bool {
		return strings.Contains(heard.all(), "store: not ready: no answer from "+p.Ready)
	})
	// A look that was under way when it was stopped began a while before.
	if since := heard.since(); since.Before(before.Add(-patience)) || time.Since(since) < tellAfter {
		t.Errorf("not ready since %v, stopped at %v", since, before)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end is said too", func() bool {
		return strings.Contains(heard.all(), "store: ready again after ") && heard.since().IsZero()
	})
	// On a machine that is busy enough it hangs a second time by itself; once for each time is said.
	silent := false
	for line := range strings.Lines(heard.all()) {
		if now := strings.Contains(line, ": not ready: "); now == silent {
			t.Errorf("heard %q", heard.all())
		} else {
			silent = now
		}
	}
}

func TestAHeldProcessIsStoppedUntilItIsReleased(t *testing.T) {
	var held, stopped atomic.Bool
	t.TempDir() // as for supervisor
	settings := DefaultSettings()
	settings.Held = func(string) bool { return held.Load() }
	settings.Stopped = func(string) { stopped.Store(true) }
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	p := program("sink", "good", freeAddr(t), filepath.Join(t.TempDir(), "log"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	first := s.States()[0].PID
	held.Store(true)
	eventually(t, "it has stopped", stopped.Load)
	if alive(first) {
		t.Error("it runs on")
	}
	held.Store(false)
	eventually(t, "it runs again", func() bool { return Ready(t.Context(), p.Ready) == nil })
	if st := s.States()[0]; st.PID == first || st.Restarts != 0 {
		t.Errorf("%+v: a hold is no restart", st)
	}
}

func TestAProgramThatEndsBeforeItIsReadyFailsWithItsLastWords(t *testing.T) {
	s, _ := supervisor(t)
	log := filepath.Join(t.TempDir(), "gateway.log")
	err := s.Start(t.Context(), program("gateway", "broken", freeAddr(t), log))
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{"gateway ended before it was ready (exit status 7)", log, "cannot find my configuration"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestAProgramThatIsNeverReadyFailsAtItsLimitAndNamesItsLog(t *testing.T) {
	s, _ := supervisor(t)
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "kafka: no broker yet", http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	p := program("sink", "good", freeAddr(t), filepath.Join(t.TempDir(), "sink.log"))
	p.Ready = busy.URL // at once, however long the process takes to begin
	p.StartLimit = 500 * time.Millisecond
	err := s.Start(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "not ready after 500ms (kafka: no broker yet)") || !strings.Contains(err.Error(), p.Log) {
		t.Fatal(err)
	}
}

func TestAProcessThatIgnoresTheStopIsKilledAndSaid(t *testing.T) {
	s, _ := supervisor(t)
	p := program("sink", "deaf", freeAddr(t), filepath.Join(t.TempDir(), "log"))
	p.StopLimit = 100 * time.Millisecond
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	pid := s.States()[0].PID
	err := s.Stop(t.Context())
	if err == nil || !strings.Contains(err.Error(), "did not stop within 100ms and was killed") {
		t.Error(err)
	}
	if alive(pid) {
		t.Error("left running")
	}
}

func TestWhenTheSupervisorIsKilledItsProcessesEnd(t *testing.T) {
	s, _ := supervisor(t)
	dir := t.TempDir()
	p := program("parent", "parent", freeAddr(t), filepath.Join(dir, "parent"), freeAddr(t), filepath.Join(dir, "grandchild"))
	if err := s.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.States()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild notices and ends in its own way", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "grandchild"))
		return err == nil && strings.Contains(string(b), "child good ends")
	})
}

func TestAnotherStartLeavesTheFirstOnesWatchAsItIs(t *testing.T) {
	s, _ := supervisor(t)
	dir := t.TempDir()
	if err := s.Start(t.Context(), program("first", "good", freeAddr(t), filepath.Join(dir, "first"))); err != nil {
		t.Fatal(err)
	}
	blocks := func() bool {
		t.Helper()
		raw, err := s.watch.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var flags uintptr
		if err := raw.Control(func(fd uintptr) { flags, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0) }); err != nil {
			t.Fatal(err)
		}
		return flags&syscall.O_NONBLOCK == 0
	}
	if blocks() {
		t.Error("the first reads without an end")
	}
	// One that ends before it watches.
	if err := s.Start(t.Context(), program("second", "broken", freeAddr(t), filepath.Join(dir, "second"))); err == nil {
		t.Error("started")
	}
	if blocks() {
		t.Error("once another was started, the first reads without an end")
	}
}

func TestALogIsTurnedOverAtItsCapAndOneOldFileKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f, err := openLog(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprint(f, "0123456789abc")
	if err := turn(path, 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "next")
	now, _ := os.ReadFile(path)
	old, _ := os.ReadFile(path + ".1")
	if string(now) != "next" || string(old) != "0123456789abc" {
		t.Errorf("now %q, before %q", now, old)
	}
}

func TestTheLastLineOfALogIsShownShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := LastLine(path); got != "" {
		t.Errorf("no log ends %q", got)
	}
	if err := os.WriteFile(path, []byte("first\nsecond\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := LastLine(path); got != "second" {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(path, []byte(`{"level":"ERROR","msg":"no","error":"disk full"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := LastLine(path); got != "no: disk full" {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(path, []byte("first\n"+strings.Repeat("x", 9000)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := LastLine(path); len(got) > 310 || !strings.HasSuffix(got, "xxx...") {
		t.Errorf("%d bytes: %.20q", len(got), got)
	}
}

func TestWhyAProcessIsNotReadyIsSaidInWords(t *testing.T) {
	for body, want := range map[string]string{
		`{"status":"starting"}`: "starting",
		`{"status":"unready","failed":[{"name":"disk","error":"full"}]}`: "disk: full",
		"bad gateway\n": "bad gateway",
	} {
		if got := reason([]byte(body)); got != want {
			t.Errorf("%s reads %q, want %q", body, got, want)
		}
	}
}
