package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
)

// local is a stack run by the program as a user runs it: a working directory with bin/muster and .muster.
type local struct {
	dir    string // working directory
	offset int
	up     *exec.Cmd
	out    *output // what `up` printed
	ended  chan error
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// patience is how long is waited for what no page gives a time: a busy machine needs many times what an idle one does.
const patience = 4 * time.Minute

func inPath(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// program is the one that all tests of this package run, built by the first of them; TestMain removes it.
var program struct {
	once sync.Once
	path string
	err  error
}

// build makes a working directory with the program in it.
func build(t *testing.T) *local {
	t.Helper()
	stacktest.Engine(t)
	program.once.Do(func() {
		dir, err := os.MkdirTemp("", "muster-")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "muster")
		if out, err := exec.Command("go", "build", "-o", program.path, ".").CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	l := &local{dir: t.TempDir()}
	err := program.err
	if err == nil {
		err = os.Mkdir(filepath.Join(l.dir, "bin"), 0o700)
	}
	if err == nil { // a name of its own for the same file: a stack says what its program is called
		err = os.Link(program.path, filepath.Join(l.dir, "bin", "muster"))
	}
	if err != nil {
		t.Fatalf("building: %v", err)
	}
	l.offset = stacktest.FreeOffset(t)
	return l
}

// start runs `muster up` and waits until it says that the stack is up.
func (l *local) start(t *testing.T, args ...string) {
	t.Helper()
	l.out = &output{}
	l.up = exec.Command(filepath.Join(l.dir, "bin", "muster"), append([]string{"up", "--listen-offset", fmt.Sprint(l.offset)}, args...)...)
	l.up.Dir, l.up.Stdout, l.up.Stderr = l.dir, l.out, l.out
	l.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := l.up.Start(); err != nil {
		t.Fatal(err)
	}
	ended, up := make(chan error, 1), l.up
	l.ended = ended
	go func() { ended <- up.Wait() }()
	t.Cleanup(func() {
		// In order, so that nothing writes any more into the directory that is removed next. One that has ended cannot be told.
		if up.Process.Signal(syscall.SIGINT) == nil {
			select {
			case <-ended:
			case <-time.After(patience):
				_ = up.Process.Kill() // fails once it has ended
			}
		}
		if t.Failed() {
			t.Logf("muster up printed:\n%s", l.out)
			for _, log := range []string{"registry", "sink", "gateway", "retention", "clickhouse", "kafka", "fleet"} {
				if b, err := os.ReadFile(filepath.Join(l.dir, ".muster", "logs", log+".log")); err == nil {
					t.Logf("%s.log ends:\n%s", log, b[max(0, len(b)-3000):])
				}
			}
		}
	})
	l.eventually(t, "the stack is up", func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("muster up ended: %v", err)
		default:
		}
		if !strings.Contains(l.out.String(), "The stack is up") {
			return errors.New("not said yet")
		}
		return nil
	})
}

// interrupt is Ctrl-C; it waits for the end.
func (l *local) interrupt(t *testing.T) error {
	t.Helper()
	if err := l.up.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-l.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("muster up did not end within %s", patience)
		return nil
	}
}

// muster runs one command in the working directory.
func (l *local) muster(ctx context.Context, args ...string) (out string, complaint string, code int) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, "bin", "muster"), args...)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err.Error(), -1
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// must runs one command that has to succeed.
func (l *local) must(t *testing.T, args ...string) string {
	t.Helper()
	out, complaint, code := l.muster(t.Context(), args...)
	if code != 0 {
		t.Fatalf("muster %s: exit %d: %s%s", strings.Join(args, " "), code, out, complaint)
	}
	return out
}

func (l *local) status(t *testing.T) (s stack.Status) {
	t.Helper()
	out, complaint, code := l.muster(t.Context(), "status", "--json")
	if code != 0 && code != 4 {
		t.Fatalf("status: exit %d: %s", code, complaint)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status: %v: %s", err, out)
	}
	return s
}

// eventually tries until ok returns nil.
func (l *local) eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, patience, err)
}

func (l *local) ready(t *testing.T) {
	t.Helper()
	l.eventually(t, "every part is ready", func() error {
		if s := l.status(t); !s.Ready {
			return fmt.Errorf("%+v", s.Parts)
		}
		return nil
	})
}

// known waits until the gateway has heard of a device that was enrolled just now: it follows the registry's log. What it is
// asked with holds no reading, and is refused.
func (l *local) known(t *testing.T, identity string) {
	t.Helper()
	script := fmt.Sprintf(`curl -sS --cacert %[1]s/ca.pem --cert %[1]s/cert.pem --key %[1]s/key.pem -H 'Content-Type: application/json' -d '{}' https://127.0.0.1:%[2]d/v1/telemetry`,
		identity, 8443+l.offset)
	l.eventually(t, "the gateway knows "+identity, func() error {
		if out := l.bash(t, script); strings.Contains(out, `"not-enrolled"`) || strings.Contains(out, `"stored"`) {
			return errors.New(out)
		}
		return nil
	})
}

// alive is false for a process that has ended and that nobody has waited for yet.
func alive(pid int) bool {
	if pid <= 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || len(cmdline) > 0
}
