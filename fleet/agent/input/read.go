package input

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

var errLong = fmt.Errorf("more than %d bytes", MaxLine)

// reader is one user's lines.
type reader struct {
	agent  Agent
	status func() any
	w      io.Writer
	n      int // lines so far
	good   int // since the last sync
}

// Read takes lines until they end, and answers. The error is what the last sync said, or why reading or answering failed.
func Read(from io.Reader, w io.Writer, a Agent, status func() any) error {
	r := &reader{agent: a, status: status, w: w}
	lines := bufio.NewReaderSize(from, 4096)
	var p []byte
	for {
		var err error
		p, err = nextLine(lines, p[:0])
		switch {
		case errors.Is(err, errLong):
			r.n++
			err = r.complain(err)
		case err != nil && !errors.Is(err, io.EOF):
			return errors.Join(err, r.sync()) // what was said is not lost for it
		case len(p) > 0:
			r.n++
			err = errors.Join(err, r.line(strings.TrimSpace(string(p))))
		}
		if errors.Is(err, io.EOF) {
			return r.sync()
		}
		if err != nil {
			return err
		}
	}
}

// line takes one. An error is of the answer.
func (r *reader) line(text string) error {
	switch {
	case text == "" || text[0] == '#':
		return nil
	case text == "sync":
		return r.sync()
	case text == "status":
		raw, err := json.Marshal(r.status())
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		_, err = fmt.Fprintf(r.w, "%s\n", raw)
		return err
	}
	if err := r.take(text); err != nil {
		return r.complain(err)
	}
	r.good++
	return nil
}

func (r *reader) take(text string) error {
	l, err := parse(text)
	switch {
	case err != nil:
		return err
	case l.event != nil:
		return r.agent.Event(*l.event)
	}
	return r.agent.RecordSet(l.values, l.at)
}

func (r *reader) complain(err error) error {
	_, e := fmt.Fprintf(r.w, "error line %d: %s\n", r.n, strings.ReplaceAll(err.Error(), "\n", "; "))
	return e
}

func (r *reader) sync() error {
	waiting, err := r.agent.Sync()
	if err != nil {
		_, _ = fmt.Fprintf(r.w, "error: not on the disk: %v\n", err)
		return err
	}
	n := r.good
	r.good = 0
	if waiting > 0 {
		_, err = fmt.Fprintf(r.w, "ok %d, and %d wait in memory for the clock to be set\n", n, waiting)
	} else {
		_, err = fmt.Fprintf(r.w, "ok %d\n", n)
	}
	return err
}

// nextLine reads a line into dst; one that is too long is read to its end and dropped.
func nextLine(r *bufio.Reader, dst []byte) ([]byte, error) {
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(dst)+len(part) > MaxLine; !long {
			dst = append(dst, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && (err == nil || errors.Is(err, io.EOF)):
			return dst[:0], errLong
		default:
			return dst, err
		}
	}
}
