package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Program is one process to keep alive.
type Program struct {
	Name       string
	Executable string
	Args       []string
	Ready      string        // URL that answers 200 once the process does its work
	Alive      string        // URL that answers 200 once it runs; Start waits for this one where it is set
	Log        string        // file that takes what it prints
	StartLimit time.Duration // from start to ready, the first time
	StopLimit  time.Duration // from SIGTERM to SIGKILL
}

// State is what a process is doing now.
type State struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	Unready  time.Time `json:"unready,omitzero"` // since when it has not been ready; zero while it is
	Ready    string    `json:"ready"`
	Log      string    `json:"log"`
}

// Settings is what the owner of a supervisor passes.
type Settings struct {
	Say      func(process, sentence string) // progress for a person; calls do not overlap
	Changed  func(State)                    // after each start, first or again, and when readiness comes or goes; one call at a time for a process
	Held     func(process string) bool      // somebody wants it stopped for a while
	Stopped  func(process string)           // after it ended because it is held
	FirstGap time.Duration                  // pause before the first restart; doubles up to LastGap
	LastGap  time.Duration
	LogCap   int64 // bytes a log file may reach before it is turned over; one old file is kept
}

// DefaultSettings says what suits a person at a terminal.
func DefaultSettings() Settings {
	return Settings{
		Say:      func(string, string) {},
		Changed:  func(State) {},
		Held:     func(string) bool { return false },
		Stopped:  func(string) {},
		FirstGap: 250 * time.Millisecond,
		LastGap:  10 * time.Second,
		LogCap:   16 << 20,
	}
}

// Supervisor owns the processes that it started. Start and Stop are for one caller at a time.
type Supervisor struct {
	settings Settings
	life     *os.File // writing end of the pipe that children watch; held open, never written
	watch    *os.File // reading end, which they inherit

	mu      sync.Mutex // guards the four below
	say     sync.Mutex // one sentence at a time
	running []*process
	stopped bool
}

// New makes a supervisor without processes.
func New(s Settings) (*Supervisor, error) {
	watch, life, err := Lifeline()
	if err != nil {
		return nil, err
	}
	return &Supervisor{settings: s, life: life, watch: watch}, nil
}

// Start runs p and returns when it is ready. It fails when p ends before it is ready, when StartLimit passes,
// or when ctx ends; p is then stopped. From readiness on p is kept alive until Stop.
func (s *Supervisor) Start(ctx context.Context, p Program) error {
	proc := &process{program: p, owner: s, quit: make(chan struct{}), done: make(chan struct{})}
	proc.life, proc.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := proc.launch(); err != nil {
		return err
	}
	s.mu.Lock()
	s.running = append(s.running, proc)
	s.mu.Unlock()
	ready := make(chan struct{})
	go proc.keep(ready)
	wanted := p.Ready
	if p.Alive != "" {
		wanted = p.Alive
	}

	limit := time.NewTimer(p.StartLimit)
	defer limit.Stop()
	began := time.Now()
	tell := time.NewTicker(5 * time.Second)
	defer tell.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	why, late := "", false
	for !late {
		select {
		case <-proc.done:
			return fmt.Errorf("%s ended before it was ready (%s); its log is %s%s", p.Name, proc.ended, p.Log, lastLines(p.Log))
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", p.Name, context.Cause(ctx))
		case <-tell.C:
			s.tell(p.Name, fmt.Sprintf("not ready yet, %s so far%s", time.Since(began).Round(time.Second), why))
			continue
		case <-limit.C:
			late = true // it is asked once more: on a machine that stood still for a while the limit comes before the first look
		case <-poll.C:
		}
		err := answers(ctx, wanted)
		if err == nil {
			close(ready)
			proc.watching.Go(proc.watch)
			return nil
		}
		why = " (" + plain(err) + ")"
	}
	return fmt.Errorf("%s was not ready after %s%s; its log is %s%s", p.Name, p.StartLimit, why, p.Log, lastLines(p.Log))
}

// States lists the processes in the order of their start.
func (s *Supervisor) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]State, 0, len(s.running))
	for _, p := range s.running {
		out = append(out, p.state())
	}
	return out
}

// Restart asks the process of that name to end, which makes it start again; a name that is not there is left alone. It
// does not wait. why is told.
func (s *Supervisor) Restart(name, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.running {
		if p.program.Name == name {
			s.tell(name, "starting it again: "+why)
			p.signal(syscall.SIGTERM)
		}
	}
}

// Stop ends the processes one by one, the last started first, each within its StopLimit. When ctx ends first,
// what is left is killed at once. It returns what had to be killed; calling it again does nothing.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	order := slices.Clone(s.running)
	s.mu.Unlock()
	slices.Reverse(order)
	var errs []error
	for _, p := range order {
		began := time.Now()
		if err := p.stop(ctx); err != nil {
			s.tell(p.program.Name, err.Error())
			errs = append(errs, err)
			continue
		}
		s.tell(p.program.Name, fmt.Sprintf("stopped in %s", time.Since(began).Round(10*time.Millisecond)))
	}
	s.life.Close()
	s.watch.Close()
	return errors.Join(errs...)
}

func (s *Supervisor) tell(name, sentence string) {
	s.say.Lock()
	defer s.say.Unlock()
	s.settings.Say(name, sentence)
}

// command builds what the operating system runs for p.
func (s *Supervisor) command(p Program, log *os.File) *exec.Cmd {
	cmd := exec.Command(p.Executable, append(slices.Clone(p.Args), "--watch-fd", "3")...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{s.watch}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
