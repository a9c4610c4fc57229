package clickhouse

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
)

// blockSize is how much of an answer is compressed at once with compress=1.
const blockSize = 1 << 20

// answer writes a response: headers late, so that a failure can still have its status, and the body in the
// encodings that the client asked for.
type answer struct {
	q       *request
	begun   bool
	gzip    *gzip.Writer
	blocks  *compress.Writer
	pending []byte // for blocks
	read    [2]uint64
	wrote   [2]uint64
}

func newAnswer(q *request) *answer { return &answer{q: q} }

func (a *answer) header() http.Header { return a.q.w.Header() }

func (a *answer) summary(readRows, readBytes, rows, bytes uint64) {
	a.read, a.wrote = [2]uint64{readRows, readBytes}, [2]uint64{rows, bytes}
}

// begin sends the headers of a success.
func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	h := a.header()
	h.Set("X-ClickHouse-Server-Display-Name", "muster")
	h.Set("X-ClickHouse-Timezone", "UTC")
	h.Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d"}`, a.read[0], a.read[1], a.wrote[0], a.wrote[1]))
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType(h.Get("X-ClickHouse-Format")))
	}
}

func contentType(format string) string {
	switch {
	case format == "JSON" || format == "JSONCompact" || format == "JSONStrings" || format == "JSONColumns":
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8; header=" + map[bool]string{true: "present", false: "absent"}[strings.Contains(format, "Names")]
	case format == "TabSeparated" || format == "TSV":
		return "text/tab-separated-values; charset=UTF-8"
	case format == "Native" || strings.HasPrefix(format, "RowBinary") || format == "Parquet" || format == "Arrow":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

// Write sends a piece of the body.
func (a *answer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if a.q.analyst {
		// Who does not take his answer holds a place that others wait for.
		a.q.deadlines(time.Time{}, time.Now().Add(a.q.s.cfg.Analysts.Patience))
	}
	if !a.begun {
		switch {
		case on(a.q.url.Get("compress")):
			a.blocks = compress.NewWriter(compress.LevelZero, compress.LZ4)
		case strings.Contains(a.q.r.Header.Get("Accept-Encoding"), "gzip") && on(a.q.url.Get("enable_http_compression")):
			a.header().Set("Content-Encoding", "gzip")
			a.gzip, _ = gzip.NewWriterLevel(a.q.w, gzip.BestSpeed) // the level is a constant
		}
		a.begin()
	}
	n := len(p)
	switch {
	case a.blocks != nil:
		for len(p) > 0 {
			k := min(len(p), blockSize-len(a.pending))
			a.pending, p = append(a.pending, p[:k]...), p[k:]
			if len(a.pending) == blockSize {
				if err := a.block(); err != nil {
					return 0, err
				}
			}
		}
		return n, nil
	case a.gzip != nil:
		return a.gzip.Write(p)
	}
	if _, err := a.q.w.Write(p); err != nil {
		return 0, fmt.Errorf("%w: %w", errGone, err)
	}
	return n, nil
}

func (a *answer) block() error {
	if len(a.pending) == 0 {
		return nil
	}
	if err := a.blocks.Compress(a.pending); err != nil {
		return fmt.Errorf("compress the answer: %w", err)
	}
	a.pending = a.pending[:0]
	if _, err := a.q.w.Write(a.blocks.Data); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// close ends a success.
func (a *answer) close() {
	a.begin()
	if a.blocks != nil {
		if err := a.block(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if a.gzip != nil {
		if err := a.gzip.Close(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// fail answers with the error as the server words it. Once rows are out the status is spent, and the connection is
// cut: a client must not take half a result for the whole.
func (a *answer) fail(err error) {
	if a.begun || errors.Is(err, errGone) {
		panic(http.ErrAbortHandler)
	}
	var e *exception
	if !errors.As(err, &e) {
		e = exceptionf(codeInternal, "%s (UNKNOWN_EXCEPTION)", err)
	}
	h := a.header()
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Del("X-ClickHouse-Format")
	a.q.w.WriteHeader(e.status())
	msg := e.Message
	if !strings.Contains(msg, "(version ") {
		msg += " (version " + a.q.s.version + ")"
	}
	io.WriteString(a.q.w, msg+"\n")
}
