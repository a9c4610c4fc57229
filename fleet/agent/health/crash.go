package health

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"muster.dev/proto/event"
)

// pstore is where the kernel leaves its last words, if it has a place that outlives it.
const pstore = "sys/fs/pstore"

// maxReports bounds one look for crash reports; the next look finds the rest.
const maxReports = 16

// maxAge of an event is what the gateway takes, less a day.
const maxAge = 29 * 24 * time.Hour

// Report is a crash report.
type Report struct {
	Event event.Device
	// Kept is called when the event is on the disk: the file is removed, or remembered if it cannot be.
	Kept func() error
}

// Crashes looks for crash reports: the kernel's in pstore, and files that programs dropped into a directory. A file whose
// name begins with a dot is still being written; a dropped file's name up to its first dot is the reason.
func (m Machine) Crashes(now time.Time, l *Life, dropped string) (reports []Report, err error) {
	for _, place := range []struct{ dir, reason string }{{m.path(pstore), "kernel"}, {dropped, ""}} {
		if place.dir == "" {
			continue
		}
		entries, failed := os.ReadDir(place.dir)
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("health: %w", failed))
		}
		for _, e := range entries {
			if len(reports) == maxReports {
				return reports, err
			}
			if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
				continue
			}
			r, failed := l.read(now, filepath.Join(place.dir, e.Name()), place.reason)
			if failed != nil {
				err = errors.Join(err, failed)
			} else if r != nil {
				reports = append(reports, *r)
			}
		}
	}
	return reports, err
}

// read makes a report of a file; nil if it was told before.
func (l *Life) read(now time.Time, path, reason string) (*Report, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	mark := fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
	if l.reported(mark) {
		return nil, nil
	}
	from := max(0, info.Size()-MaxArtifact)
	kept, err := io.ReadAll(io.NewSectionReader(f, from, MaxArtifact))
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	name := filepath.Base(path)
	if reason == "" {
		reason, _, _ = strings.Cut(name, ".")
		if reason = text(reason, 64); reason == "" {
			reason = "unknown"
		}
	}
	fields := map[string]any{"reason": reason}
	if from > 0 {
		// The kept part begins at a character, not within one.
		for range 3 {
			if len(kept) > 0 && kept[0]&0xc0 == 0x80 {
				kept = kept[1:]
			}
		}
	}
	attach(fields, name, kept, info.Size())
	at := info.ModTime()
	if at.After(now) || at.Before(now.Add(-maxAge)) {
		at = now // the clock was not set then, and the event would be put aside for its time
	}
	return &Report{
		Event: Event(event.Crash, at.UnixMilli(), fields),
		Kept: func() error {
			if os.Remove(path) == nil {
				return nil
			}
			return l.report(mark)
		},
	}, nil
}
