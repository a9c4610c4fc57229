package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Instance is what a running stack says about itself in run/stack.json.
type Instance struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Ports   Ports     `json:"ports"`
	Parts   []string  `json:"parts"`
}

// ErrNotRunning is in the error of whoever needs a stack where none runs.
var ErrNotRunning = errors.New("no stack runs there")

// lock makes the caller the one stack of this directory until the returned function is called. The kernel lets
// go of it when the process ends, however it ends.
func (d Dir) lock() (release func(), err error) {
	f, err := os.OpenFile(d.in("run", "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	err = claim(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, d.another()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory %s: %w", d.Shown(), err)
	}
	return func() { f.Close() }, nil
}

// another is the error of whoever would be a second stack on d.
func (d Dir) another() error {
	who := ""
	if i, err := d.instance(); err == nil {
		who = fmt.Sprintf(" (process %d, since %s)", i.PID, i.Started.Local().Format("15:04:05"))
	}
	if who == "" && d.Simulated() {
		return fmt.Errorf("a simulation is being written into %s: wait for its end or stop it with Ctrl-C, or name another directory", d.Shown())
	}
	return fmt.Errorf("another `muster up` runs on %s%s: stop it with Ctrl-C, or run a second stack beside it with --data OTHER --listen-offset 100", d.Shown(), who)
}

// Running returns the stack that runs on this directory, or ErrNotRunning.
func (d Dir) Running() (Instance, error) {
	none := func() (Instance, error) {
		return Instance{}, fmt.Errorf("%w: %s (start one with `muster up`, or name its directory with --data DIR)", ErrNotRunning, d.Shown())
	}
	f, err := os.Open(d.in("run", "lock"))
	if err != nil {
		return none()
	}
	defer f.Close()
	if !claimed(f) {
		return none()
	}
	i, err := d.instance()
	if err != nil {
		return Instance{}, fmt.Errorf("a stack is starting in %s, or a simulation writes there: try again in a moment", d.Shown())
	}
	return i, nil
}

func (d Dir) instance() (Instance, error) {
	var i Instance
	raw, err := os.ReadFile(d.RunFile("stack"))
	if err != nil {
		return i, fmt.Errorf("reading what the stack says about itself: %w", err)
	}
	if err := json.Unmarshal(raw, &i); err != nil {
		return i, fmt.Errorf("reading %s: %w", d.RunFile("stack"), err)
	}
	return i, nil
}

// WriteJSON puts a value at path as JSON, whole or not at all.
func WriteJSON(path string, v any) error { return writeJSON(path, v) }

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return writeFile(path, append(raw, '\n'))
}
