package fastpath_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"muster.dev/services/ingest/gateway/fastpath"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is the servers'. Nobody in these tests looks at who signed it.
var pair tls.Certificate

// bubble runs a test in a bubble.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if pair.Certificate == nil {
		pair = gatewaytest.NewAuthority(t).Server("server").TLS
	}
	synctest.Test(t, test)
}

// meaning is what the server of the tests takes from a head.
type meaning struct{ path, kind string }

type connKey struct{}

// server says what it understood: of a request's head, and of its body. Its connections are pipes, so that nothing of
// what it says is lost when it closes one.
type server struct {
	t     testing.TB
	fast  *fastpath.Path[meaning] // nil: net/http alone
	conns chan net.Conn
	gone  chan struct{}
	tls   *tls.Config
	http  *http.Server
	hold  chan struct{} // a handler waits for it when the path says so
	ended chan struct{}
}

// writeWithin is the servers' WriteTimeout.
const writeWithin = 20 * time.Second

// serve starts one, which speaks TLS as the gateway does. Each runs in a bubble of its own time, in which waiting until nothing moves
// makes it certain who has read what.
func serve(t testing.TB, idle time.Duration, fast bool) *server {
	t.Helper()
	s := &server{t: t, conns: make(chan net.Conn), gone: make(chan struct{}), ended: make(chan struct{}), hold: make(chan struct{})}
	s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: writeWithin, IdleTimeout: idle,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			line, _ := c.(*fastpath.Conn[meaning])
			return context.WithValue(ctx, connKey{}, line)
		},
	}
	var ln net.Listener = s
	if fast {
		s.fast = fastpath.New(idle, writeWithin, s.again)
		ln, s.http.ConnState = s.fast.Listen(s), s.fast.State
	}
	go func() { defer close(s.ended); _ = s.http.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.http.Close()
		<-s.ended
		<-time.After(time.Minute) // of the bubble's: net/http lets a connection linger that it refused
	})
	return s
}

func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.gone:
		return nil, net.ErrClosed
	}
}

func (s *server) Addr() net.Addr { return &net.TCPAddr{} }

func (s *server) Close() error {
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
	return nil
}

// dial connects; the server's end has shaken hands when it returns.
func (s *server) dial(protocols ...string) *tls.Conn {
	s.t.Helper()
	here, there := net.Pipe()
	c := tls.Client(here, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
	shaken := make(chan error, 1)
	t := tls.Server(there, s.tls)
	go func() { shaken <- t.Handshake() }()
	if err := errors.Join(c.Handshake(), <-shaken); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = here.Close() })
	select {
	case s.conns <- t:
	case <-s.gone:
		s.t.Fatal("the server has ended")
	}
	return c
}

// answer says what the server of the tests understood. Paths and bodies say what it does besides.
func (s *server) answer(m meaning, body []byte) fastpath.Answer {
	switch path := m.path[strings.LastIndexByte(m.path, '/'):]; path {
	case "/held":
		<-s.hold
	case "/panics":
		if string(body) == "panic" {
			panic("on the fast path or off it")
		}
	}
	a := fastpath.Answer{Status: http.StatusOK, Type: "text/plain", Body: fmt.Appendf(nil, "%s %s %d %08x", m.path, m.kind, len(body), crc32.ChecksumIEEE(body))}
	switch {
	case bytes.HasPrefix(body, []byte("refuse")):
		a.Status, a.RetryAfter = http.StatusTooManyRequests, 7
	case bytes.HasPrefix(body, []byte("end")):
		a.Status, a.Close = http.StatusForbidden, true
	case bytes.HasPrefix(body, []byte("say much")):
		a.Body = bytes.Repeat(a.Body, 100)
	}
	return a
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	m := meaning{r.Method + r.URL.RequestURI(), r.Header.Get("Content-Type")}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cut", http.StatusBadRequest)
		return
	}
	a := s.answer(m, body)
	if line, _ := r.Context().Value(connKey{}).(*fastpath.Conn[meaning]); line != nil && a.Status == http.StatusOK {
		line.Learn(r, m)
	}
	_ = a.Send(w)
}

func (s *server) again(c *fastpath.Conn[meaning], m meaning, body []byte) bool {
	a := s.answer(m, body)
	_, err := c.Write(a.Append(nil, time.Now()))
	return err == nil && !a.Close
}

// talk writes the parts, each as a record of its own, says that nothing follows, and gives all that is answered. A
// polite client waits before each part until the server has nothing more to do.
func (s *server) talk(polite bool, parts ...[]byte) string {
	s.t.Helper()
	c := s.dial()
	heard := make(chan []byte)
	go func() {
		got, _ := io.ReadAll(c) // a pipe that is closed at the other end is an end too
		heard <- got
	}()
	for _, p := range parts {
		if polite {
			synctest.Wait()
		}
		if len(p) > 0 {
			if _, err := c.Write(p); err != nil {
				break // it has closed on us, having said why
			}
		}
	}
	if polite {
		synctest.Wait()
	}
	_ = c.CloseWrite() // as above
	return timeless(<-heard)
}

var dates = regexp.MustCompile(`Date: [^\r]*\r\n`)

// timeless is what was answered, whenever it was.
func timeless(p []byte) string { return dates.ReplaceAllString(string(p), "Date: some day\r\n") }

func request(body string, headers ...string) []byte {
	p := []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/x\r\n")
	for _, h := range headers {
		p = append(append(p, h...), "\r\n"...)
	}
	return fmt.Appendf(p, "Content-Length: %d\r\n\r\n%s", len(body), body)
}

func TestARepeatedHeadIsAnsweredAsNetHTTPAnswersIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		with, without := serve(t, time.Minute, true), serve(t, time.Minute, false)
		var parts [][]byte
		for i := range 20 {
			parts = append(parts, request(strings.Repeat("x", 1+i*11))) // lengths of one to three digits
		}
		got, want := with.talk(true, parts...), without.talk(true, parts...)
		if got != want || strings.Count(got, "HTTP/1.1 200 OK") != len(parts) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if n := with.fast.Answered(); n != 19 {
			t.Errorf("%d of 20 took the fast path", n)
		}
		for i, body := range []string{"refuse", "say much", "end"} {
			r := request(body)
			if got, want := with.talk(true, request("x"), r, r), without.talk(true, request("x"), r, r); got != want || with.fast.Answered() != []int64{21, 23, 24}[i] {
				t.Errorf("%d took the fast path, got\n%s\nwant\n%s", with.fast.Answered(), got, want)
			}
		}
	})
}

func TestABodyInARecordOfItsOwnTakesItToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		r := request("a body")
		cut := bytes.Index(r, []byte("a body"))
		if got := s.talk(true, r, r[:cut], r[cut:cut+2], r[cut+2:], r); strings.Count(got, "POST/v1/telemetry text/x 6 ") != 3 || s.fast.Answered() != 2 {
			t.Errorf("%d took the fast path: %s", s.fast.Answered(), got)
		}
	})
}

func TestALongHeadIsNotRemembered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		r := request("x", "X: "+strings.Repeat("a", 1100))
		if got := s.talk(true, r, r, r); strings.Count(got, "HTTP/1.1 200") != 3 || s.fast.Answered() != 0 {
			t.Errorf("%d took the fast path: %s", s.fast.Answered(), got)
		}
	})
}

func TestAConnectionComesBackToTheFastPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := request("x")
		for name, between := range map[string][][]byte{
			"pieces":      {r[:30], r[30:]},
			"pipelining":  {bytes.Join([][]byte{r, r}, nil)},
			"chunks":      {[]byte("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
			"a long body": {request(strings.Repeat("x", 10_000))},
		} {
			s := serve(t, time.Minute, true)
			s.talk(true, append(append([][]byte{r, r}, between...), r, r)...)
			if n := s.fast.Answered(); n < 2 {
				t.Errorf("behind %s: %d took the fast path", name, n)
			}
		}
	})
}

// What net/http recovers in a handler it recovers here too.
func TestAPanicEndsItsConnectionAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		path := func(body string) []byte {
			return bytes.Replace(request(body), []byte("telemetry"), []byte("panics"), 1)
		}
		other := s.dial()
		s.ask(other, request("x"))
		if got := s.talk(true, path("x"), path("panic"), path("x")); strings.Count(got, "HTTP/1.1") != 1 || s.fast.Answered() != 1 {
			t.Errorf("%d took the fast path: %s", s.fast.Answered(), got)
		}
		s.ask(other, request("x"))
		if err := s.fast.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestABodyThatComesLateIsNetHTTPs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		c := s.dial()
		r := request("a body")
		for i, late := range []time.Duration{0, 0, 1500 * time.Millisecond, 0, 900 * time.Millisecond} {
			if _, err := c.Write(r[:len(r)-3]); err != nil {
				t.Fatal(err)
			}
			<-time.After(late)
			s.ask(c, r[len(r)-3:])
			if n, want := s.fast.Answered(), []int64{0, 1, 1, 2, 3}[i]; n != want {
				t.Errorf("after request %d: %d took the fast path, want %d", i, n, want)
			}
		}
		if err := s.fast.Drain(t.Context()); err != nil { // nothing of it stays counted
			t.Error(err)
		}
		if _, err := c.Write(r[:len(r)-3]); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		answer := make([]byte, 4096)
		n, err := c.Read(answer)
		if d := time.Since(began); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 400")) || d > 11*time.Second {
			t.Errorf("a body that never comes is told so after %v: %q %v", d, answer[:n], err)
		}
	})
}

// ask writes p and reads an answer, once the server has nothing to do.
func (s *server) ask(c *tls.Conn, p []byte) {
	s.t.Helper()
	answer := make([]byte, 4096)
	if _, err := c.Write(p); err != nil {
		s.t.Fatal(err)
	}
	if n, err := c.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
		s.t.Fatalf("%q %v", answer[:n], err)
	}
	synctest.Wait()
}

// A client that is quick, or reads its answer before net/http has done with the request, is noticed by net/http in the
// middle of it.
func TestAByteThatComesEarlyCostsTwoRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		held := bytes.Replace(request("x"), []byte("telemetry"), []byte("held"), 1)
		c := s.dial()
		heard := make(chan string)
		go func() {
			answer := make([]byte, 4096)
			for range 4 {
				n, err := c.Read(answer)
				if err != nil {
					heard <- err.Error()
					return
				}
				heard <- string(answer[:min(n, 12)])
			}
		}()
		for i := range 4 {
			if i != 1 { // the second is there already
				if _, err := c.Write(held); err != nil {
					t.Fatal(err)
				}
			}
			if i == 0 { // while the first is at work
				synctest.Wait()
				if _, err := c.Write(held); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			s.hold <- struct{}{}
			if got := <-heard; got != "HTTP/1.1 200" {
				t.Fatal(got)
			}
			synctest.Wait()
		}
		if n := s.fast.Answered(); n != 1 {
			t.Errorf("%d took the fast path, want the fourth", n)
		}
	})
}

// streams are what clients may write, well-meant or not, in records.
func streams() map[string][][]byte {
	r := request("first")
	big := request(strings.Repeat("y", 5000))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	length := func(value string, body string) []byte {
		return []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/x\r\nContent-Length: " + value + "\r\n\r\n" + body)
	}
	const line = "POST /v1/telemetry HTTP/1.1\r\n"
	events := bytes.Replace(r, []byte("telemetry"), []byte("events"), 1)
	other := bytes.Replace(r, []byte("text/x"), []byte("text/y"), 1)
	refused := bytes.Replace(request("refuse"), []byte("text/x"), []byte("text/y"), 1)
	bare := []byte(line + "Host: localhost\r\n\r\n")
	behind := func(kind string) []byte {
		return []byte(line + "Host: localhost\r\nContent-Length: 5\r\nContent-Type: " + kind + "\r\n\r\nfirst")
	}
	head := bytes.Replace(r, []byte("POST"), []byte("HEAD"), 1)
	both := []byte(line + "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
	oneLF := []byte(line + "Host: localhost\r\nContent-Type: text/x\r\nContent-Length: 9\r\n\nabc\r\n\r\nxy")
	lf := []byte("POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: text/x\nContent-Length: 11\n\nab\r\n\r\nPOST ")
	return map[string][][]byte{
		"another head":                        {r, request("second", "X: y"), r},
		"another path":                        {r, events, r, events, events},
		"pipelined":                           {r, join(r, r), r},
		"pipelined at once":                   {join(r, r, r)},
		"pipelined, cut in the middle":        {r, join(r, r[:20]), r[20:], r},
		"pipelined, cut behind a line":        {r, join(r, []byte(line)), r},
		"pipelined, cut after three bytes":    {r, join(r, []byte("POS")), r[3:], r},
		"pipelined, and its end again":        {r, join(r, []byte("POS")), r[3:], r[3:]},
		"pipelined, another behind":           {join(r, events), r, events},
		"another head, refused":               {r, refused, other},
		"another head behind the length":      {behind("text/a"), behind("text/b"), behind("text/b")},
		"an empty length":                     {r, length("", ""), r},
		"digits in front of a head":           {bare, append([]byte("0"), bare...), r},
		"digits behind a head of line feeds":  {[]byte("POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n"), []byte("5abcde"), r},
		"HEAD with a body":                    {head, head, r},
		"a head without its first line":       {[]byte(line), r[len(line):], r[len(line):]},
		"a length that wraps around":          {r, length("18446744073709551621", "first"), r},
		"chunked, and a length that fits":     {both, both, r},
		"one bare line feed, and its like":    {oneLF, oneLF, r, r},
		"an empty line behind a PUT":          {r, join([]byte("\r\n"), r), bytes.Replace(r, []byte("POST"), []byte("PUT"), 1), r, join([]byte("\r\n"), r)},
		"empty lines, again and again":        {r, join([]byte("\r\n"), r), join([]byte("\r\n"), r), r},
		"nothing but one byte":                {r, []byte("P")},
		"a head cut in two":                   {r, r[:30], r[30:], r},
		"a head cut before its length":        {r, r[:len(r)-12], r[len(r)-12:], r},
		"a length cut in its digits":          {request("0123456789"), request("0123456789")[:len(request("0123456789"))-15], request("0123456789")[len(request("0123456789"))-15:]},
		"byte for byte":                       bytesOf(join(r, r)),
		"a body above the buffer":             {r, big, r},
		"a body above the buffer, in pieces":  {r, big[:100], big[100:3000], big[3000:], r},
		"a body that is cut":                  {r, r[:len(r)-2]},
		"no body":                             {r, length("0", ""), r},
		"no length":                           {r, []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\n\r\n"), r},
		"a length with a zero in front":       {r, length("05", "first"), r, length("05", "first"), r},
		"a length with a sign":                {r, length("+5", "first"), r},
		"a length below zero":                 {r, length("-5", "first"), r},
		"a length in hex":                     {r, length("0x5", "first"), r},
		"a huge length":                       {r, length("99999999999999999999", "first"), r},
		"a length of many digits":             {r, length("00000005", "first"), length("12345678", "first")},
		"two lengths, the same":               {length("5\r\nContent-Length: 5", "first"), length("5\r\nContent-Length: 5", "first"), length("5\r\nContent-Length: 6", "first!")},
		"blanks around the length":            {length(" 5 ", "first"), length(" 6 ", "second"), length(" 6", "second")},
		"chunked":                             {r, []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"), r},
		"chunked and a length":                {r, []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"), r},
		"bare line feeds":                     {lf, lf, r},
		"bare line feeds, an end in a body":   {join(lf, r), r, r},
		"bare line feeds, and the next begun": {r, []byte("PUT /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Length: 6\n\n\r\n\r\nabPOST"), r},
		"an empty line in front":              {r, join([]byte("\r\n"), r), join([]byte("\r\n\r\n"), r), r},
		"HTTP/1.0":                            {r, bytes.Replace(r, []byte("1.1"), []byte("1.0"), 1), r},
		"HTTP/1.0, kept":                      {bytes.Replace(request("x", "Connection: keep-alive"), []byte("1.1"), []byte("1.0"), 1), bytes.Replace(request("x", "Connection: keep-alive"), []byte("1.1"), []byte("1.0"), 1)},
		"the client's last":                   {request("x", "Connection: close"), request("x", "Connection: close")},
		"kept in so many words":               {request("x", "Connection: keep-alive"), request("xy", "Connection: keep-alive"), r},
		"no host":                             {r, bytes.Replace(r, []byte("Host: localhost\r\n"), nil, 1)},
		"another method":                      {r, bytes.Replace(r, []byte("POST"), []byte("PUT"), 1), r, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), r},
		"HEAD":                                {r, []byte("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), r, r},
		"OPTIONS *":                           {r, []byte("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), r, r},
		"expecting":                           {request("x", "Expect: 100-continue"), request("y", "Expect: 100-continue"), r},
		"expecting something else":            {r, request("x", "Expect: miracles")},
		"a trailer":                           {request("x", "Trailer: X"), request("y", "Trailer: X")},
		"nonsense":                            {r, []byte("\x00\x01\x02\x03\r\n\r\n"), r},
		"a folded header":                     {request("x", "X: a", " b"), request("y", "X: a", " b"), r},
		"a longer head than is remembered":    {request("x", "X: "+strings.Repeat("a", 1100)), request("y", "X: "+strings.Repeat("a", 1100)), r},
		"the end of a head in a body":         {request("ab\r\n\r\nPOST"), request("ab\r\n\r\nPOST"), r},
		"a request in a body":                 {request(string(r)), request(string(r)), r},
		"nothing":                             {},
	}
}

func bytesOf(p []byte) (out [][]byte) {
	for i := range p {
		out = append(out, p[i:i+1])
	}
	return out
}

func TestWhateverComesIsAnsweredAsNetHTTPAnswersIt(t *testing.T) {
	for name, parts := range streams() {
		bubble(t, func(t *testing.T) { same(t, name, parts) })
	}
}

// same has one stream answered with and without it, in both manners.
func same(t *testing.T, name string, parts [][]byte) {
	with, without := serve(t, time.Minute, true), serve(t, time.Minute, false)
	for _, polite := range []bool{true, false} {
		if got, want := with.talk(polite, parts...), without.talk(polite, parts...); got != want {
			t.Errorf("%s, polite %v: got\n%s\nwant\n%s", name, polite, got, want)
		}
	}
}

// FuzzWhateverComesIsAnsweredAsNetHTTPAnswersIt cuts a stream into records at the places that cuts name.
func FuzzWhateverComesIsAnsweredAsNetHTTPAnswersIt(f *testing.F) {
	for _, parts := range streams() {
		var cuts []byte
		for _, p := range parts {
			cuts = append(cuts, byte(len(p)), byte(len(p)>>8))
		}
		f.Add(bytes.Join(parts, nil), cuts)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cuts []byte) {
		if len(stream) > 16<<10 || len(cuts) > 64 {
			t.Skip()
		}
		var parts [][]byte
		for ; len(cuts) >= 2 && len(stream) > 0; cuts = cuts[2:] {
			n := min(len(stream), int(cuts[0])|int(cuts[1])<<8)
			parts, stream = append(parts, stream[:n]), stream[n:]
		}
		bubble(t, func(t *testing.T) { same(t, "the stream", append(parts, stream)) })
	})
}

func TestAConnectionOfHTTP2IsGivenAsItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		tr := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return s.dial("h2"), nil }}
		defer tr.CloseIdleConnections()
		for range 3 {
			r, err := (&http.Client{Transport: tr}).Post("https://localhost/v1/telemetry", "text/x", strings.NewReader("x"))
			if err != nil || r.ProtoMajor != 2 {
				t.Fatal(r, err)
			}
			_ = r.Body.Close()
		}
		if s.fast.Answered() != 0 {
			t.Error("the fast path speaks HTTP/1.1 alone")
		}
	})
}

func TestWhatIsAtWorkIsAnsweredBeforeTheServerEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		held := bytes.Replace(request("x"), []byte("telemetry"), []byte("held"), 1)
		c := s.dial()
		go func() { s.hold <- struct{}{} }()
		s.ask(c, held)
		if _, err := c.Write(held); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.fast.Answered() != 1 {
			t.Fatal("it is not on the fast path")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.fast.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request is at work: %v", err)
		}
		drained := make(chan error, 1)
		go func() { drained <- errors.Join(s.fast.Drain(t.Context()), s.http.Shutdown(t.Context())) }()
		s.hold <- struct{}{}
		answer := make([]byte, 4096)
		if n, err := c.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
			t.Errorf("%q %v", answer[:n], err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }() // the server says goodbye, and a pipe holds nothing
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestADrainingPathLeavesRequestsToNetHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		if err := s.fast.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.talk(true, request("x"), request("y")); strings.Count(got, "HTTP/1.1 200") != 2 || s.fast.Answered() != 0 {
			t.Errorf("%d: %s", s.fast.Answered(), got)
		}
		if err := s.fast.Drain(t.Context()); err != nil { // none of them stays counted
			t.Error(err)
		}
	})
}

func TestASilentConnectionEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = 16 * time.Second
		s := serve(t, idle, true)
		plain, other := request("x"), request("x", "X: y")
		pieces := [][]byte{plain[:len(plain)-1], plain[len(plain)-1:]}
		for name, requests := range map[string][][][]byte{
			"one":                    {{plain}},
			"two":                    {{plain}, {plain}},
			"many":                   slices.Repeat([][][]byte{{plain}}, 50),
			"one that is another":    {{plain}, {plain}, {other}},
			"and back":               {{plain}, {plain}, {other}, {other}},
			"a body of its own":      {{plain}, pieces},
			"a body of its own, and": {{plain}, {plain}, pieces, {plain}},
			"the last of its own":    {{plain}, {plain}, pieces},
		} {
			for _, pause := range []time.Duration{idle / 3, idle / 32, 0} {
				c := s.dial()
				for i, parts := range requests {
					if i > 0 {
						<-time.After(pause)
					}
					for _, p := range parts[:len(parts)-1] {
						if _, err := c.Write(p); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
					}
					s.ask(c, parts[len(parts)-1])
				}
				began := time.Now()
				if n, err := c.Read(make([]byte, 1)); err == nil {
					t.Errorf("%d bytes", n)
				}
				// A deadline may be late by idle/16, and TLS says goodbye for up to 5 s.
				if d := time.Since(began); d < idle || d > idle+idle/16+5*time.Second {
					t.Errorf("%s, %v between: it ended in %v", name, pause, d)
				}
			}
		}
	})
}

func TestAnAnswerThatTakesLongIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = 2 * time.Second
		s := serve(t, idle, true)
		held := bytes.Replace(request("x"), []byte("telemetry"), []byte("held"), 1)
		c := s.dial()
		for range 3 {
			go func() { <-time.After(5 * idle); s.hold <- struct{}{} }()
			s.ask(c, held)
			<-time.After(idle - time.Millisecond) // and it may be as silent afterwards as any other
		}
		if n := s.fast.Answered(); n != 2 {
			t.Errorf("%d took the fast path", n)
		}
	})
}

func TestAClientThatDoesNotReadItsAnswersIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Hour, true)
		for _, first := range [][][]byte{{request("x")}, {request("x"), request("x"), request("x", "X: y")}} {
			c := s.dial()
			for _, r := range first {
				s.ask(c, r)
			}
			began := time.Now()
			for { // a pipe holds nothing: the first answer that is not read stops it
				if _, err := c.Write(first[len(first)-1]); err != nil {
					break
				}
			}
			if d := time.Since(began); d > 2*writeWithin {
				t.Errorf("it ended in %v", d)
			}
		}
	})
}
