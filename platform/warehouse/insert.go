package warehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// Limits of one insert.
const (
	MaxInsertBytes = 1 << 30
	// MaxInsertPartitions is more than the sink puts into one insert. Each is a
	// part, so that a thousand of them take longer than MaxInsertTime on a slow
	// disk: it is the last bound, not the aim.
	MaxInsertPartitions = 1100
)

// Insert is one block for one table.
type Insert struct {
	// Table is a table of the database, such as ledger or w_env.
	Table string
	// Columns are the block's columns, in its order.
	Columns []string
	// Token makes a repeated insert of the same rows a no-op, for as long as
	// the table's window holds. Other rows under a used token are dropped in
	// silence: a token must name the rows and nothing else.
	Token string
	// QueryID names the query, for KillQuery. While one runs, a second with
	// the same id is refused.
	QueryID string
	// Body is one Native block in pieces, as native.Block.Segments gives it.
	// It is not written to and not kept.
	Body [][]byte
	// Rows is for the error's text.
	Rows int
}

func (in *Insert) validate() error {
	switch {
	case !tableName.MatchString(in.Table):
		return fmt.Errorf("insert: table %q: want %s", in.Table, tableName)
	case in.Token == "":
		return errors.New("insert: no token: a repeat would double the rows")
	case len(in.Columns) == 0:
		return errors.New("insert: no columns: a name that does not match would be filled with defaults")
	case len(in.Body) == 0:
		return errors.New("insert: no body")
	}
	for _, c := range in.Columns {
		if !columnName.MatchString(c) {
			return fmt.Errorf("insert: column %q: want %s", c, columnName)
		}
	}
	return nil
}

// Insert sends the block in one request and returns nil once the engine has it
// on disk. On an error, see its Class: anything that went wrong after the
// first byte left, an ended ctx included, is in doubt, unless the engine said
// that nothing was written. It may be called concurrently.
func (w *Warehouse) Insert(ctx context.Context, in Insert) error {
	if err := in.validate(); err != nil {
		return &Error{Class: Permanent, Message: err.Error(), err: err}
	}
	size := int64(0)
	for _, p := range in.Body {
		size += int64(len(p))
	}
	if size > MaxInsertBytes {
		return &Error{Class: Permanent, Message: fmt.Sprintf("insert into %s: %d bytes, at most %d", in.Table, size, MaxInsertBytes)}
	}
	ctx, cancel := context.WithTimeout(ctx, MaxInsertTime+10*MaxInsertTime/30)
	defer cancel()

	// The order of events: the transport reports a written header from its own
	// goroutine, maybe after Do has returned on a cancelled ctx. So sent is
	// atomic, and doubt begins at the connection, before a byte could leave.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.insertURL(in), nil)
	if err != nil {
		return &Error{Class: Permanent, Message: "insert: " + err.Error(), err: err}
	}
	req.Body, req.ContentLength = newSegments(in.Body), size
	req.GetBody = func() (io.ReadCloser, error) { return newSegments(in.Body), nil }
	req.Header.Set("Content-Type", "application/octet-stream")
	w.authorize(req)

	resp, err := w.client.Do(req)
	if err != nil {
		e := &Error{Message: fmt.Sprintf("insert into %s (%d rows): %v", in.Table, in.Rows, err), err: err}
		if !sent.Load() {
			e.Class = Transient
		}
		return e
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if code, _ := strconv.Atoi(resp.Header.Get("X-ClickHouse-Exception-Code")); code != 0 {
		return newError(code, in.Table+": "+string(answer))
	}
	if code, message, ok := parseException(string(answer)); ok {
		return newError(code, in.Table+": "+message)
	}
	if resp.StatusCode != http.StatusOK {
		return newStatus(resp.StatusCode, in.Table+": "+string(answer))
	}
	if err != nil {
		return &Error{Message: fmt.Sprintf("insert into %s: read the answer: %v", in.Table, err), err: err}
	}
	return nil
}

// newStatus classes an answer that is no exception of ClickHouse's: a proxy's,
// or one of the server's HTTP layer, which comes before the query is begun
// where it is about who asks.
func newStatus(status int, message string) *Error {
	e := newError(0, fmt.Sprintf("HTTP %d: %s", status, message))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge:
		e.Class = Permanent
	case http.StatusTooManyRequests:
		e.Class = Transient
	}
	return e
}

func (w *Warehouse) insertURL(in Insert) string {
	var q strings.Builder
	q.WriteString("INSERT INTO " + w.table(in.Table) + " (")
	for i, c := range in.Columns {
		if i > 0 {
			q.WriteString(", ")
		}
		q.WriteString(quote(c))
	}
	q.WriteString(") FORMAT Native")

	v := url.Values{}
	v.Set("query", q.String())
	v.Set("insert_deduplication_token", in.Token)
	if in.QueryID != "" {
		v.Set("query_id", in.QueryID)
	}
	for name, value := range insertSettings {
		v.Set(name, value)
	}
	u := *w.base
	u.Path, u.RawQuery = "/", v.Encode()
	return u.String()
}

// insertSettings make one request one block: one part, and one entry of the
// deduplication log, per partition.
var insertSettings = map[string]string{
	// On by default since 26.x; it would gather blocks and lose our tokens.
	"async_insert":                             "0",
	"insert_deduplicate":                       "1",
	"max_execution_time":                       strconv.Itoa(int(MaxInsertTime.Seconds())),
	"max_partitions_per_insert_block":          strconv.Itoa(MaxInsertPartitions),
	"throw_on_max_partitions_per_insert_block": "1",
	// Native blocks pass as they come when nothing gathers small ones.
	"min_insert_block_size_rows":    "0",
	"min_insert_block_size_bytes":   "0",
	"max_insert_block_size":         "16777216",
	"max_insert_threads":            "1",
	"input_format_parallel_parsing": "0",
	// A column whose name does not match is an error, not a default.
	"input_format_skip_unknown_fields":         "0",
	"input_format_defaults_for_omitted_fields": "1",
	// The answer comes when the insert is over, so its status is the insert's.
	"wait_end_of_query": "1",
}

func (w *Warehouse) authorize(req *http.Request) {
	if w.cfg.User != "" {
		req.Header.Set("X-ClickHouse-User", w.cfg.User)
		req.Header.Set("X-ClickHouse-Key", w.secret)
	}
}

// segments reads a list of byte slices in order.
type segments struct {
	rest [][]byte
	head bytes.Reader
}

func newSegments(parts [][]byte) io.ReadCloser { return &segments{rest: parts} }

// Read implements io.Reader.
func (s *segments) Read(p []byte) (int, error) {
	for s.head.Len() == 0 {
		if len(s.rest) == 0 {
			return 0, io.EOF
		}
		s.head.Reset(s.rest[0])
		s.rest = s.rest[1:]
	}
	return s.head.Read(p)
}

// WriteTo implements io.WriterTo: no copy through a buffer.
func (s *segments) WriteTo(dst io.Writer) (int64, error) {
	sum, err := s.head.WriteTo(dst)
	for err == nil && len(s.rest) > 0 {
		var n int
		n, err = dst.Write(s.rest[0])
		sum += int64(n)
		s.rest = s.rest[1:]
	}
	return sum, err
}

// Close implements io.Closer.
func (s *segments) Close() error { return nil }
