package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// More types of HTTP/2 frames.
const (
	framePing         = 6
	frameContinuation = 9
)

// preface is how a client of HTTP/2 begins.
func preface() []byte {
	return append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil)...)
}

// literal is a header as HPACK writes it without an index; the value is shorter than 127 bytes.
func literal(name, value string) []byte {
	p := append([]byte{0, byte(len(name))}, name...)
	return append(append(p, byte(len(value))), value...)
}

func TestAFloodOfFramesEndsItsConnectionAndNobodyElses(t *testing.T) {
	s := open(t, nil, "flood", "swift")
	swift := s.device("swift")
	filler := bytes.Repeat(literal("x-filler", strings.Repeat("y", 100)), 140) // 15 KiB
	seq := 0
	for name, x := range map[string]struct{ first, then []byte }{
		"headers that are continued for ever": {frame(frameHeaders, 0, 1, literal(":method", "POST")), frame(frameContinuation, 0, 1, filler)},
		"continuations of nothing":            {frame(frameHeaders, 0, 1, literal(":method", "POST")), bytes.Repeat(frame(frameContinuation, 0, 1, nil), 1000)},
		"settings, and nobody reads":          {nil, bytes.Repeat(frame(frameSettings, 0, 0, nil), 1000)},
		"pings, and nobody reads":             {nil, bytes.Repeat(frame(framePing, 0, 0, make([]byte, 8)), 1000)},
	} {
		c := s.dial("flood", "h2")
		_, err := c.Write(append(preface(), x.first...))
		sent := 0
		for ; err == nil && sent < 64<<20; sent += len(x.then) {
			_, err = c.Write(x.then)
		}
		if err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %d bytes are taken, %v", name, sent, err)
		}
		t.Logf("%s: ended after %d bytes", name, sent)
		_ = c.Close()
		seq++
		if r := s.post(swift, "/v1/telemetry", typeJSON, message(1, seq, "")); r.Code != http.StatusOK {
			t.Errorf("a neighbour of %s: %s", name, r.Raw)
		}
	}
	if n := s.metric("muster_gateway_connections_chatter_total"); n < 2 {
		t.Errorf("%v connections were ended for their chatter", n)
	}
	s.balanced()
}

func TestAConnectionOfHTTP2ThatBringsMessagesIsKept(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.client(s.ca.Device("boiler-1"), true)
	before := s.metric("muster_gateway_connections_accepted_total")
	sent := 0
	for seq := 0; sent < 6<<20; seq++ {
		body := append(message(1, seq, ""), bytes.Repeat([]byte(" "), 100<<10)...)
		var src io.Reader = bytes.NewReader(body)
		if seq%2 == 0 {
			src = io.MultiReader(bytes.NewReader(body[:1000]), iotest.OneByteReader(bytes.NewReader(body[1000:1500])), bytes.NewReader(body[1500:]))
		}
		if r, err := s.try(c, "/v1/telemetry", typeJSON, src); err != nil || r.Code != http.StatusOK || r.Proto != "HTTP/2.0" {
			t.Fatalf("%d %s %v", r.Code, r.Raw, err)
		}
		sent += len(body)
	}
	for range 100 { // and what is refused before it is read
		if r := s.post(c, "/v1/telemetry", "text/plain", make([]byte, 100<<10)); r.Code != http.StatusUnsupportedMediaType {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
	}
	if n := s.metric("muster_gateway_connections_accepted_total") - before; n != 1 || s.metric("muster_gateway_connections_chatter_total") != 0 {
		t.Errorf("%v connections, %v ended for their chatter", n, s.metric("muster_gateway_connections_chatter_total"))
	}
	s.balanced()
}

// A header of 4,000 bytes that is then named a thousand times by one byte each.
func TestHeadersThatGrowWhenTheyAreUnpackedAreRefused(t *testing.T) {
	s := open(t, nil, "flood")
	c := s.dial("flood", "h2")
	block := append([]byte{0x40, 1, 'x'}, 0x7f, 0xa1, 0x1e) // indexed; the value has 127+33+30*128 bytes
	block = append(block, bytes.Repeat([]byte("y"), 127+33+30*128)...)
	block = append(block, bytes.Repeat([]byte{0x80 | 62}, 12_000)...)
	if _, err := c.Write(append(preface(), frame(frameHeaders, 4|1, 1, block)...)); err != nil {
		t.Fatal(err)
	}
	refused := false
	var head [9]byte
	for !refused {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatalf("neither refused nor ended in words: %v", err)
		}
		p := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, p); err != nil {
			t.Fatal(err)
		}
		refused = head[3] == frameGoAway || head[3] == frameReset || head[3] == frameHeaders // which is 431
		if head[3] == frameHeaders && !bytes.Contains(p, []byte("431")) && !bytes.Contains(p, []byte{0x08, 0x03}) {
			t.Logf("headers %x", p)
		}
	}
	if n := s.metric("muster_gateway_received_total"); n != 0 {
		t.Errorf("%v requests came to the handler", n)
	}
}

func TestManySlowConnectionsOfOneAddressAreCapped(t *testing.T) {
	const most, all = 200, 260
	s := open(t, func(c *gateway.Config) {
		c.Limits.ConnectionsPerAddress, c.Limits.ConnectionsPerDevice, c.Limits.HeaderTimeout = most, all, 3*time.Second
	}, "slow", "swift")
	cfg := s.ca.Client(s.ca.Device("slow"))
	// Each sends a message first: until it begins another, no clock but the idle one runs.
	var open []*tls.Conn
	for i := range all {
		c, err := tls.Dial("tcp", s.gateway.Addr(), cfg)
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = c.Close() })
		body := message(1, i, "")
		_, err = c.Write(request(fmt.Sprintf("Content-Length: %d", len(body)), body))
		if _, read := c.Read(make([]byte, 4096)); err == nil && read == nil {
			open = append(open, c)
		}
	}
	if n := s.metric("muster_gateway_connections_refused_total", "cap", "address"); len(open) != most || n != all-most {
		t.Errorf("%d are open and %v refused, want %d and %d", len(open), n, most, all-most)
	}
	ended := make(chan string, all)
	for _, c := range open {
		go trickle(c, []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nX: "), 100*time.Millisecond, ended)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	tr := &http.Transport{TLSClientConfig: s.ca.Client(s.ca.Device("swift")), DialContext: from.DialContext}
	defer tr.CloseIdleConnections()
	swift := &http.Client{Transport: tr, Timeout: patience}
	for i := range 10 {
		if r := s.post(swift, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	for range open {
		select {
		case got := <-ended:
			if got != "" {
				t.Errorf("%q", got)
			}
		case <-time.After(patience):
			t.Fatal("a slow connection stays open")
		}
	}
	s.balanced()
}

func TestACertificateThatExpiresEndsItsConnectionToo(t *testing.T) {
	s := open(t, nil, "boiler-1")
	name := gatewaytest.URI(t, "spiffe://"+gatewaytest.TrustDomain+"/device/boiler-1")
	for _, http2 := range []bool{false, true} {
		until := time.Now().Add(4 * time.Second).Truncate(time.Second)
		id := s.ca.Issue(fmt.Sprint("short-", http2), &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{name}})
		c := s.keeping(id, http2)
		for seq := 0; ; seq++ {
			sent := time.Now()
			r := s.post(c, "/v1/telemetry", typeJSON, message(int(until.Unix()), seq, ""))
			// It was judged at some time from then to now.
			if r.Code == http.StatusForbidden && r.Reason == "bad-identity" && time.Now().After(until) {
				if !http2 && !r.Close {
					t.Error("its connection is kept")
				}
				break
			}
			if r.Code != http.StatusOK || sent.After(until) {
				t.Fatalf("HTTP/2 %v, %v after its end: %d %s", http2, sent.Sub(until), r.Code, r.Raw)
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	s.balanced()
}

func TestARevokedDeviceThatRepeatsItselfIsRefused(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.dial("boiler-1")
	answer := make([]byte, 4096)
	seq := 0
	ask := func() (string, error) {
		seq++
		body := message(1, 1000+seq, "")
		if _, err := c.Write(request(fmt.Sprintf("Content-Length: %d", len(body)), body)); err != nil {
			return "", err
		}
		n, err := c.Read(answer)
		return string(answer[:n]), err
	}
	// A head that comes in two parts is read as any other: on a busy machine that may be the first few.
	s.eventually("it repeats itself", func() bool {
		if got, err := ask(); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatalf("%q %v", got, err)
		}
		return s.metric("muster_gateway_repeated_requests_total") > 0
	})
	s.declare(event.DeviceRevoked{No: s.nos["boiler-1"]})
	s.eventually("it goes on", func() bool {
		got, err := ask()
		return err != nil || strings.HasPrefix(got, "HTTP/1.1 403") && strings.Contains(got, "Connection: close")
	})
	s.balanced()
}

func TestHostileFieldsOfEventsAreRefusedOrStoredAsTheyAre(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	now := time.Now().UnixMilli()
	one := func(fields string) []byte {
		return fmt.Appendf(nil, `{"events":[{"ts":%d,"type":"crash","reason":"test"%s}]}`, now, fields)
	}
	var fields strings.Builder
	for i := range 33 {
		fmt.Fprintf(&fields, `,"f%d":1`, i)
	}
	for name, body := range map[string][]byte{
		"a name that is SQL":       one(`,"x'); DROP TABLE events --":1`),
		"a name of a prototype":    one(`,"__proto__":{"x":1}`),
		"a map in a field":         one(`,"f":{"a":1}`),
		"a list in a field":        one(`,"f":[1]`),
		"33 fields":                one(fields.String()),
		"a megabyte of text":       one(`,"f":"` + strings.Repeat("x", 1<<20) + `"`),
		"half a surrogate as name": one(`,"\ud800":1`),
		"a number beyond floats":   one(`,"f":1e999`),
		"a type twice":             one(`,"type":"boot"`),
		"a time beyond time":       []byte(`{"events":[{"ts":1e300,"type":"crash"}]}`),
		"a type that is a path":    fmt.Appendf(nil, `{"events":[{"ts":%d,"type":"../../etc"}]}`, now),
		"1,001 events":             []byte(`{"events":[` + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"ts":%d,"type":"boot"},`, now), 1001), ",") + `]}`),
		"no events":                []byte(`{"events":[]}`),
	} {
		if r := s.post(c, "/v1/events", typeJSON, body); r.Code != 400 && r.Code != 413 && r.Code != 422 || r.Outcome != "refused" {
			t.Errorf("%s: %d %s", name, r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicEvents)); n != 0 {
		t.Errorf("%d records", n)
	}
	for name, text := range map[string]string{"a terminal's escape": `\u001b]0;owned\u0007`, "right to left": `\u202egnp.exe`, "a null": `\u0000`, "a formula": `=HYPERLINK(\"http://x\")`, "markup": `<script>alert(1)</script>`} {
		r := s.post(c, "/v1/events", typeJSON, one(`,"f":"`+text+`"`))
		if r.Code != http.StatusOK && r.Code != 422 {
			t.Errorf("%s: %d %s", name, r.Code, r.Raw)
		}
		t.Logf("%s: %d", name, r.Code)
	}
	s.balanced()
}
