package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"muster.dev/fleet/agent/wholefile"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// Updater is where updates plug in. It is asked for the firmware that runs before anything is sent, and run beside the
// agent's other work.
type Updater interface {
	// Firmware is the version that runs; every message carries it. It does not change while the agent runs. "" is unknown.
	Firmware() string
	// Run does whatever updates need until ctx ends or there is nothing to do. What becomes of an update is told by report,
	// as events of the type ota; an event is on the disk when report returns nil. An error is said in the log, and does not
	// end the agent.
	Run(ctx context.Context, report func(event.Device) error) error
}

// Observed brings no updates: somebody else does. It tells which firmware runs, and when that is another than at the last
// start.
type Observed struct {
	version string
	path    string // of the last start's
}

// NewObserved gives an updater for the version; with file, the version is that file's first line. path keeps it.
func NewObserved(version, file, path string) (*Observed, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("firmware: %w", err)
		}
		version, _, _ = strings.Cut(string(raw), "\n")
		version = strings.TrimSpace(version)
	}
	if len(version) > batch.MaxFirmware || !utf8.ValidString(version) || strings.ContainsFunc(version, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return nil, fmt.Errorf("firmware %.80q: want printable text of at most %d bytes", version, batch.MaxFirmware)
	}
	return &Observed{version: version, path: path}, nil
}

// Firmware is the version that was given.
func (o *Observed) Firmware() string { return o.version }

// Run tells of a version that is new since the last start, and ends.
func (o *Observed) Run(_ context.Context, report func(event.Device) error) error {
	if o.version == "" {
		return nil
	}
	before, err := os.ReadFile(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("firmware: %w", err)
	case string(before) == o.version:
		return nil
	default:
		fields := map[string]any{"from": string(before), "to": o.version, "result": "ok", "reason": "found running"}
		if err := report(event.Device{Type: event.OTA, Fields: fields}); err != nil {
			return fmt.Errorf("firmware: %w", err)
		}
	}
	return wholefile.Write(o.path, []byte(o.version), 0o600)
}
