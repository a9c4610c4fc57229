package repeat_test

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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/gateway/repeat"
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
	lane  *repeat.Lane[meaning] // nil: net/http alone
	conns chan net.Conn
	gone  chan struct{}
	tls   *tls.Config
	http  *http.Server
	hold  chan struct{} // a handler waits for it when the path says so
	ended chan struct{}
}

// server speaks TLS as the gateway does. Each runs in a bubble of its own time, in which waiting until nothing moves
// makes it certain who has read what.
func serve(t testing.TB, idle time.Duration, withLane bool) *server {
	t.Helper()
	s := &server{t: t, conns: make(chan net.Conn), gone: make(chan struct{}), ended: make(chan struct{}), hold: make(chan struct{})}
	s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}}
	var ln net.Listener = s
	if withLane {
		s.lane = repeat.NewLane(idle, s.again)
		ln = s.lane.Listen(s)
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: idle,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			line, _ := c.(*repeat.Conn[meaning])
			return context.WithValue(ctx, connKey{}, line)
		},
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

const refusedKind = "text/refused"

func (s *server) words(m meaning, body []byte) (status int, said []byte) {
	if strings.HasSuffix(m.path, "/held") {
		<-s.hold
	}
	status = http.StatusOK
	if m.kind == refusedKind {
		status = http.StatusTooManyRequests
	}
	return status, fmt.Appendf(nil, "%s %s %d %08x", m.path, m.kind, len(body), crc32.ChecksumIEEE(body))
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	line, _ := r.Context().Value(connKey{}).(*repeat.Conn[meaning])
	m := meaning{r.Method + r.URL.RequestURI(), r.Header.Get("Content-Type")}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cut", http.StatusBadRequest)
		return
	}
	status, said := s.words(m, body)
	if line != nil {
		if repeat.Repeatable(r) {
			line.Learn(r.ContentLength, m)
		}
		line.Done(r.ContentLength)
	}
	w.Header()["Content-Type"] = []string{"text/plain"}
	if status != http.StatusOK {
		w.Header()["Retry-After"] = []string{"7"}
	}
	w.WriteHeader(status)
	_, _ = w.Write(said)
}

func (s *server) again(c *repeat.Conn[meaning], m meaning, body []byte) bool {
	a := repeat.Answer{Type: "text/plain"}
	if a.Status, a.Body = s.words(m, body); a.Status != http.StatusOK {
		a.RetryAfter = 7
	}
	_, err := c.Write(a.Append(nil, time.Now()))
	return err == nil
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
		if n := with.lane.Answered(); n != 19 {
			t.Errorf("%d of 20 took the lane", n)
		}
		refused := bytes.ReplaceAll(request("xyz"), []byte("text/x"), []byte(refusedKind))
		if got, want := with.talk(true, refused, refused), without.talk(true, refused, refused); got != want || with.lane.Answered() != 20 {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestABodyInARecordOfItsOwnTakesTheLaneToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		r := request("a body")
		cut := bytes.Index(r, []byte("a body"))
		if got := s.talk(true, r, r[:cut], r[cut:cut+2], r[cut+2:], r); strings.Count(got, "POST/v1/telemetry text/x 6 ") != 3 || s.lane.Answered() != 2 {
			t.Errorf("%d took the lane: %s", s.lane.Answered(), got)
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
			if n, want := s.lane.Answered(), []int64{0, 1, 1, 2, 3}[i]; n != want {
				t.Errorf("after request %d: %d took the lane, want %d", i, n, want)
			}
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
func TestAByteThatComesEarlyDoesNotEndTheLane(t *testing.T) {
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
		if n := s.lane.Answered(); n != 2 {
			t.Errorf("%d took the lane, want the third and the fourth", n)
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
	lf := []byte("POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: text/x\nContent-Length: 11\n\nab\r\n\r\nPOST ")
	return map[string][][]byte{
		"another head":                        {r, request("second", "X: y"), r},
		"another path":                        {r, bytes.Replace(r, []byte("telemetry"), []byte("events"), 1), r},
		"pipelined":                           {r, join(r, r), r},
		"pipelined at once":                   {join(r, r, r)},
		"pipelined, cut in the middle":        {r, join(r, r[:20]), r[20:], r},
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

// same has one stream answered with and without the lane, in both manners.
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
		if s.lane.Answered() != 0 {
			t.Error("the lane speaks HTTP/1.1 alone")
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
		if s.lane.Answered() != 1 {
			t.Fatal("it is not in the lane")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.lane.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request is at work: %v", err)
		}
		drained := make(chan error, 1)
		go func() { drained <- errors.Join(s.lane.Drain(t.Context()), s.http.Shutdown(t.Context())) }()
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

func TestADrainingLaneLeavesRequestsToNetHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, time.Minute, true)
		if err := s.lane.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.talk(true, request("x"), request("y")); strings.Count(got, "HTTP/1.1 200") != 2 || s.lane.Answered() != 0 {
			t.Errorf("%d: %s", s.lane.Answered(), got)
		}
	})
}

func TestASilentConnectionEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = 16 * time.Second
		s := serve(t, idle, true)
		for _, requests := range []int{1, 2, 5, 50} {
			c := s.dial()
			for range requests {
				s.ask(c, request("x"))
				<-time.After(idle / 3)
			}
			began := time.Now()
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes", n)
			}
			// The last answer was idle/3 before; a deadline may be late by idle/16, and TLS says goodbye for up to 5 s.
			if d := time.Since(began) + idle/3; d < idle || d > idle+idle/16+5*time.Second {
				t.Errorf("after %d requests it ended in %v", requests, d)
			}
		}
	})
}

func TestAClientThatDoesNotReadItsAnswersIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = 16 * time.Second
		s := serve(t, idle, true)
		c := s.dial()
		s.ask(c, request("x"))
		began := time.Now()
		for { // a pipe holds nothing: the first answer that is not read stops the lane
			if _, err := c.Write(request("x")); err != nil {
				break
			}
		}
		if d := time.Since(began); d > 2*idle {
			t.Errorf("it ended in %v", d)
		}
	})
}
