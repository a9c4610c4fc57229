//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/platform/daemon"
)

// process is another process of the benchmark.
type process struct {
	b    testing.TB
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said *bytes.Buffer // standard error
	fin  sync.Once
}

func spawn(b testing.TB, name string, env ...string) *process {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &process{b: b, name: name, cmd: exec.Command(self), said: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), append(env, envPart+"="+name)...)
	p.cmd.Stderr = p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if len(env) == 0 { // a part of the stack logs to its standard output, and nobody reads it
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		p.out = bufio.NewReader(out)
	} else {
		p.cmd.Stdout = p.said
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.end)
	return p
}

// start starts a part of the benchmark's own.
func start(b testing.TB, name string, o order) *process {
	b.Helper()
	p := spawn(b, name)
	p.tell(o)
	return p
}

func (p *process) tell(what any) {
	p.b.Helper()
	if err := json.NewEncoder(p.in).Encode(what); err != nil {
		p.b.Fatalf("%s: %v: %s", p.name, err, p.said)
	}
}

func (p *process) line() string {
	p.b.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait() // its standard error is whole then
		p.b.Fatalf("%s: %v: %s", p.name, err, p.said)
	}
	return strings.TrimSpace(line)
}

// end asks a process to end and waits for it.
func (p *process) end() {
	p.fin.Do(func() {
		_ = p.in.Close()
		if p.out == nil {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
		}
		late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		if err := p.cmd.Wait(); err != nil {
			p.b.Errorf("%s: %v: %s", p.name, err, p.said)
		}
	})
}

// whole is the CPU of a process that has ended.
func (p *process) whole() float64 {
	s := p.cmd.ProcessState
	return (s.UserTime() + s.SystemTime()).Seconds()
}

// cpu is what a running process has taken so far, in seconds; the kernel counts in hundredths.
func (p *process) cpu() float64 {
	p.b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.b.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // the name before may hold blanks
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		p.b.Fatal(err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		p.b.Fatal(err)
	}
	return float64(user+system) / 100
}

// peak is the highest resident size of a running process in MiB.
func (p *process) peak() float64 { return peakOf(strconv.Itoa(p.cmd.Process.Pid)) }

func ownPeak() float64 { return peakOf("self") }

func peakOf(pid string) float64 {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib / 1024
		}
	}
	return 0
}

// part starts a process of the stack under a configuration, and waits until it is ready.
func part(b testing.TB, name, ops string, cfg any) *process {
	b.Helper()
	path := filepath.Join(b.TempDir(), name+".yaml")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := daemon.Dump(file, cfg); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	p := spawn(b, name, envConfig+"="+path)
	eventually(b, patience, func() (bool, string) {
		r, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			return false, name + " is not ready: " + err.Error()
		}
		defer r.Body.Close()
		said, _ := io.ReadAll(r.Body)
		return r.StatusCode == http.StatusOK, name + " is not ready: " + string(said)
	})
	http.DefaultClient.CloseIdleConnections()
	return p
}

// freeAddr is an address that nobody listens on, for a process that cannot tell which it took.
func freeAddr(b testing.TB) string {
	b.Helper()
	return stack.Loopback(stacktest.FreePort(b))
}

// patience is how long is waited for a process: the machine may have other work.
const patience = 30 * time.Minute

// eventually polls until ok; what it saw is for the failure's text.
func eventually(b testing.TB, limit time.Duration, ok func() (bool, string)) {
	b.Helper()
	for end := time.Now().Add(limit); ; <-time.After(50 * time.Millisecond) {
		done, saw := ok()
		if done {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("not within %v: %s", limit, saw)
		}
	}
}
