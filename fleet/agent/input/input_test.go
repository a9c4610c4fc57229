package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 3 * time.Minute

// book writes down what it is given.
type book struct {
	mu      sync.Mutex
	lines   []string
	events  []event.Device
	waiting int
	broken  error
}

func (b *book) RecordSet(values map[string]any, at time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, metric := range slices.Sorted(maps.Keys(values)) {
		if metric == "bad" {
			return errors.New("bad is no name")
		}
		line := fmt.Sprintf("%s %T %v", metric, values[metric], values[metric])
		if !at.IsZero() {
			line += " " + fmt.Sprint(at.UnixMilli())
		}
		b.lines = append(b.lines, line)
	}
	return nil
}

func (b *book) Event(e event.Device) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return (&event.Message{Events: []event.Device{e}}).Validate()
}

func (b *book) Sync() (int, error) { return b.waiting, b.broken }

func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func status() any { return map[string]string{"device": "pi-1"} }

func TestEachLineIsTakenAsItIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"temp_c 21.5":              "temp_c float64 21.5",
		"  n\t7  ":                 "n int64 7",
		"n -3 1795341850123":       "n int64 -3 1795341850123",
		"n 1 2026-11-20T12:00:00Z": "n int64 1 1795176000000",
		"on true":                  "on bool true",
		"door open":                "door string open",
		"x 1e3":                    "x float64 1000",
		"x 0x10":                   "x string 0x10",
		"x inf":                    "x string inf",
		`{"metrics":{"b":"two words","a":1.50},"ts":1795341850123}`: "a float64 1.5 1795341850123, b string two words 1795341850123",
		`{"ts":"2026-11-20T12:00:00Z","metrics":{"ok":false}}`:      "ok bool false 1795176000000",
	} {
		b := &book{}
		var out strings.Builder
		if err := Read(strings.NewReader(text), &out, b, status); err != nil || out.String() != "ok 1\n" {
			t.Errorf("%s: %v %q", text, err, out.String())
		}
		if got := strings.Join(b.lines, ", "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	b := &book{}
	if err := Read(strings.NewReader(`{"type":"crash","reason":"pump_stuck","ts":1795341850123,"pc":17,"none":null}`), io.Discard, b, status); err != nil || len(b.events) != 1 {
		t.Fatal(err)
	}
	if e := b.events[0]; e.Type != event.Crash || e.TS != 1795341850123 || e.Fields["reason"] != "pump_stuck" || e.Fields["pc"] != int64(17) || len(e.Fields) != 2 {
		t.Errorf("%+v", e)
	}
}

func TestALineThatCannotBeUsedIsSaidAndTheOthersAreTaken(t *testing.T) {
	bad := []string{
		"one", "a b c d", "n 1 yesterday", "n 1 1795341850", `{"metrics":{}}`, `{"metrics":{"a":[1]}}`, `{"metrics":{"a":1},"other":2}`, `{"a":1}`, `{`, `{"metrics":{"a":1}} {}`,
		`{"type":"crash","reason":{}}`, `{"type":"none"}`, "bad 1", strings.Repeat("x", MaxLine+1), `{"ts":true,"metrics":{"a":1}}`, `{"metrics":{"a":1e999}}`,
	}
	for _, text := range bad {
		b := &book{}
		var out strings.Builder
		if err := Read(strings.NewReader("# a remark\n\ngood 1\n"+text+"\ngood 2\n"), &out, b, status); err != nil {
			t.Fatal(err)
		}
		answers := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(answers) != 2 || !strings.HasPrefix(answers[0], "error line 4: ") || answers[1] != "ok 2" || len(b.lines) != 2 {
			t.Errorf("%.40s: %q, %q", text, answers, b.lines)
		}
	}
	var out strings.Builder
	if err := Read(strings.NewReader(strings.Repeat("x", MaxLine+1)), &out, &book{}, status); err != nil || !strings.Contains(out.String(), "error line 1") || !strings.HasSuffix(out.String(), "ok 0\n") {
		t.Errorf("%v %q", err, out.String())
	}
}

func TestSyncSaysWhatIsOnTheDisk(t *testing.T) {
	b := &book{}
	var out strings.Builder
	if err := Read(strings.NewReader("a 1\na 2\nsync\na 3\nstatus\n"), &out, b, status); err != nil || out.String() != "ok 2\n{\"device\":\"pi-1\"}\nok 1\n" {
		t.Errorf("%v %q", err, out.String())
	}
	out.Reset()
	b.waiting = 3
	if err := Read(strings.NewReader("a 1\n"), &out, b, status); err != nil || !strings.HasPrefix(out.String(), "ok 1, and 3 wait") {
		t.Errorf("%v %q", err, out.String())
	}
	out.Reset()
	b.broken = errors.New("no space left")
	if err := Read(strings.NewReader("a 1\n"), &out, b, status); err == nil || !strings.HasPrefix(out.String(), "error: not on the disk") {
		t.Errorf("%v %q", err, out.String())
	}
}

// serve runs a socket.
func serve(t *testing.T, b *book) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "m") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	// What an agent left that was killed.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Serve(ctx, path, b, status, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	for late := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return path
		} else if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

func TestManyUsersSpeakAtOnce(t *testing.T) {
	b := &book{}
	path := serve(t, b)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	var wg sync.WaitGroup
	for u := range 8 {
		c := dial(t, path)
		wg.Go(func() {
			for i := range 50 {
				fmt.Fprintf(c, "u%d %d\n", u, i)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			if answer, err := io.ReadAll(c); err != nil || string(answer) != "ok 50\n" {
				t.Errorf("%q %v", answer, err)
			}
		})
	}
	wg.Wait()
	if n := len(b.all()); n != 400 {
		t.Errorf("%d lines", n)
	}
	if err := Serve(t.Context(), path, b, status, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("two serve one socket")
	}
}

func TestStandardInputIsReadUntilItsEndOrOurs(t *testing.T) {
	b := &book{}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Stdin(ctx, r, io.Discard, b, status) }()
	if _, err := io.WriteString(w, "a 1\n"); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); len(b.all()) == 0 && time.Now().Before(late); time.Sleep(time.Millisecond) {
	}
	cancel() // while it waits for more
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(b.all()) != 1 {
		t.Errorf("%q", b.all())
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a 1", "a b c", `{"ts":1795341850123,"metrics":{"a":1}}`, `{"type":"boot"}`, "a 1 2026-11-20T12:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parse(s)
		if err == nil && l.event == nil && len(l.values) == 0 {
			t.Errorf("%q says nothing", s)
		}
		for metric, v := range l.values {
			switch v.(type) {
			case int64, float64, bool, string:
			default:
				t.Errorf("%q: %s is a %T", s, metric, v)
			}
		}
	})
}
