package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"muster.dev/proto/event"
)

// Kmsg is the kernel's log.
const Kmsg = "/dev/kmsg"

const (
	maxRecord = 8 << 10 // of the kernel's log: a smaller buffer is refused
	perLook   = 64 << 10
	lookEvery = 2 * time.Second
)

// Complaints tells of errors in a log as they come, until ctx ends: the kernel's, of level err and worse, or those of a
// file, each line of which is one. old says to begin with what stands there already. An error says why nothing is told any
// more.
func Complaints(ctx context.Context, path string, old bool, tell func(event.Device)) error {
	s := newSieve(time.Now())
	pass := func(c complaint, ok bool) {
		now := time.Now()
		if !ok {
			return
		}
		if count, suppressed, ok := s.pass(c, now); ok {
			tell(c.event(now, count, suppressed))
		}
	}
	if path == Kmsg {
		return kernel(ctx, old, pass)
	}
	t := tail{path: path}
	if !old {
		t.skip()
	}
	for {
		t.look(func(line string) { pass(parseLine(line)) })
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			t.close()
			return nil
		}
	}
}

func kernel(ctx context.Context, old bool, pass func(complaint, bool)) error {
	f, err := os.OpenFile(Kmsg, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	if !old {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("health: %w", err)
		}
	}
	p := make([]byte, maxRecord)
	for {
		n, err := f.Read(p)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EPIPE): // the log has gone on; what was written over is lost
			continue
		case err != nil:
			return fmt.Errorf("health: read %s: %w", Kmsg, err)
		}
		pass(parseKmsg(string(p[:n])))
	}
}

// tail follows a file that others write, also when it is replaced or begun anew.
type tail struct {
	path string
	file *os.File
	at   int64
	rest string
}

func (t *tail) open() bool {
	if t.file != nil {
		now, err := os.Stat(t.path)
		have, err2 := t.file.Stat()
		if err == nil && err2 == nil && os.SameFile(now, have) {
			if have.Size() < t.at {
				t.at, t.rest = 0, ""
			}
			return true
		}
		if err == nil {
			t.close()
		}
	}
	if t.file == nil {
		f, err := os.OpenFile(t.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		t.file, t.at, t.rest = f, 0, ""
	}
	return true
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// skip passes over what is there.
func (t *tail) skip() {
	if t.open() {
		if info, err := t.file.Stat(); err == nil {
			t.at = info.Size()
		}
	}
}

// look gives the lines that have come, at most so many bytes of them; what is more comes at the next look.
func (t *tail) look(line func(string)) {
	if !t.open() {
		return
	}
	p := make([]byte, perLook)
	n, err := t.file.ReadAt(p, t.at)
	if err != nil && err != io.EOF {
		return
	}
	t.at += int64(n)
	text := t.rest + string(p[:n])
	for {
		l, more, whole := strings.Cut(text, "\n")
		if !whole {
			break
		}
		line(l[:min(len(l), maxRecord)])
		text = more
	}
	t.rest = text[:min(len(text), maxRecord)] // of a line without end the beginning is enough
}
