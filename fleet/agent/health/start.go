package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"muster.dev/fleet/agent/wholefile"
	"muster.dev/proto/event"
)

// Reasons of a boot event.
const (
	FirstStart = "first_start"
	Restart    = "restart"    // the agent was stopped and started
	Reboot     = "reboot"     // it was stopped, then the machine was
	Killed     = "killed"     // the agent ended without being stopped; the machine went on
	PowerLoss  = "power_loss" // the machine ended without stopping the agent: power, reset, or a hang
	Watchdog   = "watchdog"   // the same, and the hardware watchdog says that it was that
	Panic      = "panic"      // the same, and the kernel left its last words
)

// Life is the record of one start, kept in a file: that the agent runs, on which start of the kernel, and which crash
// reports were told that could not be removed.
type Life struct {
	path  string
	state lifeState
}

type lifeState struct {
	Running  bool     `json:"running"`
	Kernel   string   `json:"kernel"`
	Reported []string `json:"reported,omitempty"`
}

const maxReported = 64

// Begin reads how the last start ended, writes down that this one has begun, and gives the fields of its boot event.
// sameKernel says that the kernel has not started since the agent ran last.
func (m Machine) Begin(path string) (l *Life, fields map[string]any, sameKernel bool, err error) {
	l = &Life{path: path}
	raw, err := os.ReadFile(path)
	first := errors.Is(err, fs.ErrNotExist)
	if err != nil && !first {
		return nil, nil, false, fmt.Errorf("health: %w", err)
	}
	if !first && json.Unmarshal(raw, &l.state) != nil {
		l.state, first = lifeState{}, true // it is written whole, so somebody else wrote here
	}
	kernel := small(m.path("proc/sys/kernel/random/boot_id"))
	sameKernel = !first && kernel != "" && kernel == l.state.Kernel
	fields = map[string]any{"clean": first || !l.state.Running}
	switch {
	case first:
		fields["reason"] = FirstStart
	case sameKernel && l.state.Running:
		fields["reason"] = Killed
	case sameKernel:
		fields["reason"] = Restart
	case !l.state.Running:
		fields["reason"] = Reboot
	default:
		fields["reason"] = m.abrupt()
	}
	if release := small(m.path("proc/sys/kernel/osrelease")); release != "" {
		fields["kernel"] = text(release, 128)
	}
	if up, ok := m.uptime(); ok {
		fields["uptime_s"] = up
	}
	l.state.Running, l.state.Kernel = true, kernel
	return l, fields, sameKernel, l.save()
}

// abrupt says why the machine ended, as far as it left a trace.
func (m Machine) abrupt() string {
	const cardReset = 0x20 // WDIOF_CARDRESET of linux/watchdog.h
	if n, err := strconv.ParseUint(small(m.path("sys/class/watchdog/watchdog0/bootstatus")), 0, 32); err == nil && n&cardReset != 0 {
		return Watchdog
	}
	if entries, err := os.ReadDir(m.path(pstore)); err == nil && len(entries) > 0 {
		return Panic
	}
	return PowerLoss
}

// End writes down that the agent is being stopped.
func (l *Life) End() error {
	l.state.Running = false
	return l.save()
}

func (l *Life) reported(mark string) bool { return slices.Contains(l.state.Reported, mark) }

func (l *Life) report(mark string) error {
	l.state.Reported = append(l.state.Reported, mark)
	l.state.Reported = l.state.Reported[max(0, len(l.state.Reported)-maxReported):]
	return l.save()
}

func (l *Life) save() error {
	raw, err := json.Marshal(l.state)
	if err == nil {
		err = wholefile.Write(l.path, raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

// Event puts fields into an event.
func Event(kind string, ts int64, fields map[string]any) event.Device {
	return event.Device{TS: ts, Type: kind, Fields: fields}
}
