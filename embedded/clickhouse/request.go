package clickhouse

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxQuery bounds the text of a statement; rows of an INSERT do not count.
const maxQuery = 4 << 20

// request is one HTTP request while it is served.
type request struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	url      url.Values
	analyst  bool
	user     string
	database string
	format   string // of the answer unless the statement says otherwise
	out      *answer
}

// ServeHTTP speaks ClickHouse's HTTP interface.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.working.Add(1)
	defer s.working.Done()
	switch r.URL.Path {
	case "/ping", "/replicas_status":
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		io.WriteString(w, "Ok.\n")
		return
	case "/":
	default:
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "ClickHouse takes GET and POST", http.StatusMethodNotAllowed)
		return
	}
	q := &request{s: s, w: w, r: r, url: r.URL.Query(), database: s.cfg.Database, format: "TabSeparated"}
	q.out = newAnswer(q)
	if err := q.serve(); err != nil {
		q.out.fail(err)
		return
	}
	q.out.close()
}

func (q *request) serve() error {
	if err := q.authenticate(); err != nil {
		return err
	}
	if err := q.bound(); err != nil {
		return err
	}
	if q.analyst {
		defer q.s.lobby.leave()
	}
	for _, name := range []string{q.url.Get("database"), q.r.Header.Get("X-ClickHouse-Database")} {
		if name != "" {
			q.database = name
			break
		}
	}
	for _, format := range []string{q.r.Header.Get("X-ClickHouse-Format"), q.url.Get("default_format")} {
		if format != "" {
			if !identifier.MatchString(format) {
				return exceptionf(73, "Unknown format %q. (UNKNOWN_FORMAT)", format)
			}
			q.format = format
			break
		}
	}
	if strings.HasPrefix(q.r.Header.Get("Content-Type"), "multipart/form-data") {
		return exceptionf(48, "External tables are not supported by the embedded server. (NOT_IMPLEMENTED)")
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	if q.analyst {
		// An analyst's statement is whole before it takes a place, and is taken apart in its place only: an outline
		// is a hundred times its text.
		text, err := q.whole(body)
		if err != nil {
			return err
		}
		leave, err := q.admit()
		if err != nil {
			return err
		}
		defer leave()
		body = text
	}
	sql, st, rows, err := q.statement(body)
	if err != nil {
		return err
	}
	if sql == "" {
		q.out.header().Set("Content-Type", "text/html; charset=UTF-8")
		_, err := io.WriteString(q.out, "Ok.\n")
		return err
	}
	if st.several(sql) {
		return exceptionf(codeSyntax, "Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)")
	}
	if st.follows("INTO", "OUTFILE") || st.follows("FROM", "INFILE") {
		return exceptionf(48, "INTO OUTFILE and FROM INFILE are for a client's files, and not allowed over HTTP. (NOT_IMPLEMENTED)")
	}
	if q.analyst {
		if !slices.Contains(analystVerbs, st.verb) {
			return q.refusal(sql)
		}
		if err := q.s.cfg.Analysts.check(sql, st); err != nil {
			return err
		}
	}
	return q.run(sql, st, rows)
}

// authenticate tells the service user from an analyst. Without any credentials, or as user default without a
// password, a request is an analyst's; any other pair must be right.
func (q *request) authenticate() error {
	user, secret, given := q.r.BasicAuth()
	if h := q.r.Header.Get("X-ClickHouse-User"); h != "" {
		user, secret, given = h, q.r.Header.Get("X-ClickHouse-Key"), true
	}
	if q.url.Has("user") || q.url.Has("password") {
		user, secret, given = q.url.Get("user"), q.url.Get("password"), true
	}
	if !given || (user == "default" || user == "") && secret == "" {
		q.analyst, q.user = true, "default"
		return nil
	}
	// Hashes, so that the time tells nothing of length or content.
	got, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(q.s.cfg.ServiceSecret))
	if user != q.s.cfg.ServiceUser || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		q.w.Header().Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
		return exceptionf(codeAuthentication, "%s: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)", user)
	}
	q.user = user
	return nil
}

// bound gives a request its deadlines, and an analyst's a place in the lobby, which serve gives back. A connection
// keeps the deadlines of the request before, so a service's are taken away.
func (q *request) bound() error {
	var read time.Time
	if q.analyst {
		if !local(q.r.Host) {
			return exceptionf(codeAccessDenied, "Without credentials the store is asked by an address or as localhost, not as %.60q. (ACCESS_DENIED)", q.r.Host)
		}
		if !q.s.lobby.try() {
			q.out.header().Set("Retry-After", "1")
			q.out.header().Set("Connection", "close")
			return exceptionf(codeTooManyQueries, "Too many simultaneous requests without credentials. Maximum: %d. (TOO_MANY_SIMULTANEOUS_QUERIES)", q.s.cfg.Analysts.Requests)
		}
		read = time.Now().Add(q.s.cfg.Analysts.Patience)
	}
	q.deadlines(read, time.Time{})
	return nil
}

// local says whether a Host header names this machine. A page in a browser can make a name of its own mean a loopback
// address, and would read the store; it cannot make the browser say another name than its own.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "" || strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// deadlines sets those of the connection; a writer without one has no client that could be slow.
func (q *request) deadlines(read, write time.Time) {
	c := http.NewResponseController(q.w)
	_ = c.SetReadDeadline(read)
	_ = c.SetWriteDeadline(write)
}

// whole reads an analyst's body to its end.
func (q *request) whole(body io.Reader) (io.Reader, error) {
	most := q.s.cfg.Analysts.Query
	if n := int64(len(q.url.Get("query"))); n > most || q.r.ContentLength > most {
		q.out.header().Set("Connection", "close")
		return nil, exceptionf(codeSyntax, "Query is larger than %d bytes, the limit without credentials. (SYNTAX_ERROR)", most)
	}
	text, err := io.ReadAll(io.LimitReader(body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if int64(len(text)) > most {
		q.out.header().Set("Connection", "close")
		return nil, exceptionf(codeSyntax, "Query is larger than %d bytes, the limit without credentials. (SYNTAX_ERROR)", most)
	}
	q.deadlines(time.Time{}, time.Time{}) // the deadline was the body's: the query's own is the engine's
	return bytes.NewReader(text), nil
}

// body undoes the encodings of the request's body and bounds what comes out.
func (q *request) body() (io.Reader, error) {
	var body io.Reader = q.r.Body
	switch enc := q.r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, exceptionf(codeBadArguments, "Body is no gzip: %s. (BAD_ARGUMENTS)", err)
		}
		body = z
	default:
		return nil, exceptionf(48, "Content-Encoding %s is not supported: use gzip or none. (NOT_IMPLEMENTED)", enc)
	}
	if on(q.url.Get("decompress")) {
		if q.analyst {
			// A block may claim to be far larger than it is, and its size is believed before it is bounded.
			return nil, exceptionf(48, "decompress=1 is for INSERT: it wants credentials. (NOT_IMPLEMENTED)")
		}
		body = newBlockReader(body)
	}
	return &boundedReader{r: body, left: q.s.cfg.MaxBody}, nil
}

func on(v string) bool { return v == "1" || strings.EqualFold(v, "true") }

// boundedReader fails where a body grows past its bound; io.LimitReader would cut it in silence.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, exceptionf(codeTooLarge, "Body is larger than the embedded server takes. (TOO_MANY_BYTES)")
	}
	return n, err
}

// statement puts the query together: the URL's, then the body. Of an INSERT with data the rows are left in the reader.
func (q *request) statement(body io.Reader) (string, statement, io.Reader, error) {
	sql := q.url.Get("query")
	if st := parse(sql); st.data {
		rows := io.MultiReader(strings.NewReader(sql[st.rest:]), body)
		return sql, st, rows, nil
	}
	head, err := io.ReadAll(io.LimitReader(body, maxQuery+1))
	if err != nil {
		return "", statement{}, nil, fmt.Errorf("read the body: %w", err)
	}
	if sql != "" && len(head) > 0 {
		sql += "\n"
	}
	n := len(sql)
	sql += string(head)
	if strings.TrimSpace(sql) == "" {
		return "", statement{}, nil, nil
	}
	st := parse(sql)
	if st.data {
		if st.rest < n {
			st.rest = n
		}
		return sql[:st.rest], st, io.MultiReader(bytes.NewReader([]byte(sql[st.rest:])), body), nil
	}
	if len(head) > maxQuery {
		return "", statement{}, nil, exceptionf(62, "Query is larger than %d bytes. (SYNTAX_ERROR)", maxQuery)
	}
	return sql, st, nil, nil
}

// run executes a statement on a connection of its own.
func (q *request) run(sql string, st statement, rows io.Reader) error {
	settings, params, err := settingsOf(q.url)
	if err != nil {
		return err
	}
	id := q.url.Get("query_id")
	if id == "" {
		id = rand.Text()
	}
	q.out.header().Set("X-ClickHouse-Query-Id", id)
	if st.verb == "KILL" && !q.analyst {
		if done, err := q.kill(sql, st, params); done || err != nil {
			return err
		}
	}
	running, err := q.s.queries.begin(id, q.user, sql, q.analyst)
	if err != nil {
		return err
	}
	defer q.s.queries.end(running)

	if !q.analyst {
		leave, err := q.admit()
		if err != nil {
			return err
		}
		defer leave()
	}

	// The engine keeps a query's state by thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := q.s.engine.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := q.prepare(c, st, settings, running.tag); err != nil {
		return err
	}
	if running.dead() {
		return exceptionf(394, "Query was cancelled. (QUERY_WAS_CANCELLED)")
	}
	// A client that went away does not want its answer. An INSERT that has its body runs to its end.
	watched := context.AfterFunc(q.r.Context(), func() {
		if !st.data {
			q.s.cancelUntilDone(context.Background(), running)
		}
	})
	defer watched()
	if st.data {
		return q.interruptible(running, func() error { return q.insert(c, st, params, rows) })
	}
	return q.query(c, sql, st, params)
}

// interruptible lets a kill end an INSERT that waits for the rest of its body: the engine, which waits for rows too,
// would not see it.
func (q *request) interruptible(running *query, insert func() error) error {
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-running.killed:
			// A writer that cannot set deadlines has no connection to wait on.
			_ = http.NewResponseController(q.w).SetReadDeadline(time.Unix(1, 0))
		case <-over:
		}
	}()
	err := insert()
	close(over)
	<-watched
	if err != nil && running.dead() {
		return exceptionf(394, "Query was cancelled. (QUERY_WAS_CANCELLED)")
	}
	return err
}

// admit waits for a place in the lane of the user.
func (q *request) admit() (leave func(), err error) {
	if !q.analyst {
		if err := q.s.services.enter(q.r.Context()); err != nil {
			return nil, fmt.Errorf("wait for a place: %w", err)
		}
		return q.s.services.leave, nil
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.s.cfg.Analysts.Wait)
	defer cancel()
	if err := q.s.analysts.enter(ctx); err != nil {
		q.out.header().Set("Retry-After", "1")
		return nil, exceptionf(codeTooManyQueries, "Too many simultaneous queries without credentials. Maximum: %d. (TOO_MANY_SIMULTANEOUS_QUERIES)", q.s.cfg.Analysts.Queries)
	}
	return q.s.analysts.leave, nil
}

// prepare gives the connection its database, settings and rights.
func (q *request) prepare(c *conn, st statement, settings []setting, tag string) error {
	if err := c.set([]setting{{"log_comment", tag}, {"implicit_select", "0"}, {"max_query_size", strconv.Itoa(maxQuery)}}); err != nil {
		return err
	}
	if q.database != "default" {
		if err := c.exec("USE " + quoteName(q.database)); err != nil {
			return err
		}
	}
	if q.analyst {
		return q.s.cfg.Analysts.session(c, settings)
	}
	if st.data {
		if err := c.set(insertSettings); err != nil {
			return err
		}
	}
	own := settings[:0:0]
	for _, s := range settings {
		if s.name != "log_comment" { // it is how a query is found to be killed
			own = append(own, s)
		}
	}
	if q.r.Method == http.MethodGet && !q.url.Has("readonly") {
		own = append(own, setting{"readonly", "2"}) // as the server has it
	}
	return c.set(own)
}

func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

func (q *request) insert(c *conn, st statement, params []param, rows io.Reader) error {
	for _, p := range params {
		if !identifier.MatchString(p.name) {
			return exceptionf(codeBadArguments, "Parameter %q is no name. (BAD_ARGUMENTS)", p.name)
		}
		if err := c.exec("SET param_" + p.name + " = " + literal(p.value)); err != nil {
			return err
		}
	}
	format := st.format
	if format == "" {
		if format = q.r.Header.Get("X-ClickHouse-Format"); format == "" {
			format = "Values"
		}
	}
	n, err := c.insert(st, format, rows)
	if err != nil {
		return err
	}
	q.out.summary(0, 0, n.rows, n.bytes)
	return nil
}

func (q *request) query(c *conn, sql string, st statement, params []param) error {
	format := q.outputFormat(st)
	q.out.header().Set("X-ClickHouse-Format", format)
	upgrade := plain
	if strings.EqualFold(format, "Native") {
		upgrade = newUpgrader(q.url.Get("client_protocol_version"))
		if st.verb == "SELECT" || st.verb == "WITH" { // the library streams no others
			return c.stream(sql, format, params, func(b []byte) error { return upgrade(q.out, b) })
		}
	}
	r, err := c.query(sql, format, params)
	if err != nil {
		return err
	}
	defer r.close()
	q.out.summary(c.lib.rowsRead(r.h), c.lib.bytesRead(r.h), c.lib.rowsWritten(r.h), c.lib.bytesWritten(r.h))
	return upgrade(q.out, r.bytes())
}

// outputFormat is the last FORMAT clause at the statement's own level, else the request's.
func (q *request) outputFormat(st statement) string {
	for i := len(st.tokens) - 1; i > 0; i-- {
		if st.tokens[i-1].is("FORMAT") && st.tokens[i].depth == 0 && st.tokens[i].kind == word {
			return st.tokens[i].name
		}
	}
	return q.format
}

var errGone = errors.New("the client went away")
