package gateway_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// easyPacked wraps the MsgPack of one metric's value into a message.
func easyPacked(value ...byte) []byte {
	p := []byte{0x81, 0xa8, 'r', 'e', 'a', 'd', 'i', 'n', 'g', 's', 0x91, 0x82, 0xa2, 't', 's', 0x01, 0xa7, 'm', 'e', 't', 'r', 'i', 'c', 's', 0x81, 0xa1, 't'}
	return append(p, value...)
}

func many(readings, metrics int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"readings":[`)
	for i := range readings {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"ts":%d,"metrics":{`, 1_795_341_850_000+i)
		for m := range metrics {
			if m > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"m%d":%d`, m, i)
		}
		b.WriteString("}}")
	}
	b.WriteString("]}")
	return b.Bytes()
}

// badInput is a body that is refused. Its name begins with its row in the fault matrix.
type badInput struct {
	name        string
	contentType string
	encoding    string
	body        []byte
	codes       []int // the one, or those that are as good
	reason      string
}

func badInputs(t *testing.T) []badInput {
	t.Helper()
	good := message(1, 1, "")
	goodGzip := compress(t, "gzip", good)
	badCRC := bytes.Clone(goodGzip)
	badCRC[len(badCRC)-6] ^= 0xff
	nested := append(bytes.Repeat([]byte{0x91}, 17), 0xc0)
	return []badInput{
		{"1: an array of 2^32-1 in 5 bytes", typeMsgPack, "", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, []int{400}, ""},
		{"1: the same as a value", typeMsgPack, "", easyPacked(0xdd, 0xff, 0xff, 0xff, 0xff), []int{400, 422}, ""},
		{"1: the same in the compact form", typeCompact, "", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, []int{400}, ""},
		{"2: a map longer than the body", typeMsgPack, "", []byte{0xdf, 0x7f, 0xff, 0xff, 0xff}, []int{400}, ""},
		{"2: a text longer than the body", typeMsgPack, "", easyPacked(0xdb, 0x7f, 0xff, 0xff, 0xff), []int{400}, ""},
		{"2: bytes longer than the body", typeMsgPack, "", easyPacked(0xc6, 0x7f, 0xff, 0xff, 0xff), []int{400}, ""},
		{"2: a text longer than the body, compact", typeCompact, "", []byte{0x98, 1, 0, 0, 0xdb, 0x7f, 0xff, 0xff, 0xff}, []int{400}, ""},
		{"3: 16 MiB of nesting", typeMsgPack, "gzip", compress(t, "gzip", bytes.Repeat([]byte{0x91}, 16<<20)), []int{413}, ""},
		{"4: depth 17", typeMsgPack, "", nested, []int{400}, ""},
		{"4: depth 17 under an unknown key", typeMsgPack, "", append([]byte{0x81, 0xa1, 'x'}, nested...), []int{400}, ""},
		{"4: depth 17 as JSON", typeJSON, "", []byte(`{"x":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + "}"), []int{400}, ""},
		{"5: an extension", typeMsgPack, "", easyPacked(0xc7, 1, 5, 0), []int{400, 422}, ""},
		{"5: a timestamp", typeMsgPack, "", easyPacked(0xd6, 0xff, 0, 0, 0, 1), []int{400, 422}, ""},
		{"5: an extension cut short", typeMsgPack, "", easyPacked(0xd8, 1), []int{400}, ""},
		{"6: a key twice", typeMsgPack, "", []byte{0x82, 0xa1, 'x', 1, 0xa1, 'x', 2}, []int{400}, ""},
		{"6: a key twice as JSON", typeJSON, "", []byte(`{"boot":1,"boot":2,"seq":1,"readings":[{"ts":1,"metrics":{"t":1}}]}`), []int{400}, ""},
		{"6: a metric twice", typeJSON, "", []byte(`{"readings":[{"ts":1,"metrics":{"t":1,"t":2}}]}`), []int{400}, ""},
		{"6: a key that is no text", typeMsgPack, "", []byte{0x81, 0x01, 0x01}, []int{400}, ""},
		{"7: bytes behind the document", typeMsgPack, "", append(easyPacked(1), 0xc0), []int{400}, ""},
		{"7: the same as JSON", typeJSON, "", append(bytes.Clone(good), '1'), []int{400}, ""},
		{"7: the same compact", typeCompact, "", append(compactMessage(t, 1, 1, 0, nil), 0), []int{400}, ""},
		{"8: a metric's name that is not UTF-8", typeJSON, "", []byte("{\"readings\":[{\"ts\":1,\"metrics\":{\"\xff\":1}}]}"), []int{400, 422}, ""},
		{"9: 10,001 values", typeJSON, "", many(73, 137), []int{413}, "too-large"},
		{"9: 1,001 steps", typeJSON, "", many(1001, 1), []int{413}, "too-large"},
		{"11: a bomb of 1:1000", typeJSON, "gzip", compress(t, "gzip", bytes.Repeat([]byte(" "), 3<<20)), []int{413}, "compression-ratio"},
		{"11: a bomb as zstd", typeJSON, "zstd", compress(t, "zstd", bytes.Repeat([]byte(" "), 3<<20)), []int{413}, "compression-ratio"},
		{"12: two gzip members", typeJSON, "gzip", append(bytes.Clone(goodGzip), goodGzip...), []int{400}, "bad-encoding"},
		{"12: gzip cut short", typeJSON, "gzip", goodGzip[:len(goodGzip)-5], []int{400}, "bad-encoding"},
		{"12: a wrong checksum", typeJSON, "gzip", badCRC, []int{400}, "bad-encoding"},
		{"12: no gzip", typeJSON, "gzip", good, []int{400}, "bad-encoding"},
		{"12: no zstd", typeJSON, "zstd", good, []int{400}, "bad-encoding"},
		{"14: an unknown type", "text/plain", "", good, []int{415}, "media-type"},
		{"14: no type", "", "", good, []int{415}, "media-type"},
		{"14: an unknown encoding", typeJSON, "br", good, []int{415}, "content-encoding"},
		{"14: two encodings", typeJSON, "gzip, gzip", compress(t, "gzip", goodGzip), []int{415}, "content-encoding"},
		{"26: seq 2^64-1", typeJSON, "", []byte(`{"boot":1,"seq":18446744073709551615,"readings":[{"ts":1,"metrics":{"t":1}}]}`), []int{422}, "unprocessable"},
		{"26: seq 2^53", typeJSON, "", []byte(`{"boot":1,"seq":9007199254740992,"readings":[{"ts":1,"metrics":{"t":1}}]}`), []int{422}, "unprocessable"},
		{"26: seq 2^53 compact", typeCompact, "", []byte{0x98, 1, 1, 0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0, 0xc0, 1, 0x91, 0, 0xc0, 0x91, 0x93, 0xa1, 't', 0, 0x91, 1}, []int{422}, "unprocessable"},
		{"37: a metric's name that is SQL", typeJSON, "", []byte(`{"readings":[{"ts":1,"metrics":{"x'); DROP TABLE":1}}]}`), []int{422}, "unprocessable"},
		{"boot without seq", typeJSON, "", []byte(`{"boot":1,"readings":[{"ts":1,"metrics":{"t":1}}]}`), []int{422}, "unprocessable"},
		{"no readings", typeJSON, "", []byte(`{"boot":1,"seq":1}`), []int{422}, "unprocessable"},
		{"nothing at all", typeJSON, "", nil, []int{400}, "malformed"},
		{"nothing at all, compact", typeCompact, "", nil, []int{400}, "malformed"},
		{"a body above 4 MiB", typeJSON, "", bytes.Repeat([]byte(" "), 4<<20+1), []int{413}, "too-large"},
		{"a compressed body above 1 MiB", typeJSON, "gzip", bytes.Repeat([]byte(" "), 1<<20+1), []int{413}, "too-large"},
	}
}

// by is the client that sends it. A long one is answered before it is read, and its connection ends: Go's own client may
// notice that first.
func (x badInput) by(s *site, c *http.Client) *http.Client {
	if len(x.body) > 1<<20 {
		return s.kept(s.ca.Device("boiler-1"))
	}
	return c
}

// manyConnections leaves room for those that are ending.
func manyConnections(c *gateway.Config) { c.Limits.ConnectionsPerDevice = 50 }

func (x badInput) refusedAs(r reply) bool {
	return slices.Contains(x.codes, r.Code) && (x.reason == "" || r.Reason == x.reason) && r.Outcome == "refused"
}

func TestBadInputIsRefusedInASentenceAndStoresNothing(t *testing.T) {
	s := open(t, manyConnections, "boiler-1")
	c := s.device("boiler-1")
	for _, x := range badInputs(t) {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(x.body)
			if chunked {
				body = io.MultiReader(body)
			}
			r, err := s.try(x.by(s, c), "/v1/telemetry", x.contentType, body, "Content-Encoding", x.encoding)
			if err != nil || !x.refusedAs(r) {
				t.Errorf("%s, chunked %v: %d %s %v", x.name, chunked, r.Code, r.Raw, err)
			}
			if r.Code == 413 && (r.Limit == 0 || r.Field == "") {
				t.Errorf("%s: no field or limit: %s", x.name, r.Raw)
			}
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 0 {
		t.Errorf("%d records", n)
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 200 {
		t.Errorf("afterwards: %d %s", r.Code, r.Raw)
	}
	s.balanced()
}

// A request whose head was the one of a good message before it is answered by other code.
func TestBadInputUnderTheHeadOfAGoodMessageIsRefusedAsWell(t *testing.T) {
	s := open(t, manyConnections, "boiler-1")
	c := s.device("boiler-1")
	good := map[string][]byte{typeJSON: message(1, 1, ""), typeMsgPack: easyPacked(1), typeCompact: compactMessage(t, 1, 2, 0, nil)}
	short := 0
	stored := 0
	for _, x := range badInputs(t) {
		if x.encoding != "" && x.encoding != "gzip" && x.encoding != "zstd" || good[x.contentType] == nil {
			continue
		}
		body := good[x.contentType]
		if x.encoding != "" {
			body = compress(t, x.encoding, body)
		}
		for range 2 { // also when a refusal came before
			by := x.by(s, c)
			if r := s.post(by, "/v1/telemetry", x.contentType, body, "Content-Encoding", x.encoding); r.Code != 200 {
				t.Fatalf("before %s: %s", x.name, r.Raw)
			} else if !strings.Contains(r.Raw, `"duplicate":true`) {
				stored++
			}
			if r, err := s.try(by, "/v1/telemetry", x.contentType, bytes.NewReader(x.body), "Content-Encoding", x.encoding); err != nil || !x.refusedAs(r) {
				t.Errorf("%s: %d %s %v", x.name, r.Code, r.Raw, err)
			}
		}
		if len(x.body) > 0 && len(x.body) < 3000 {
			short += 2
		}
	}
	if n := int(s.metric("muster_gateway_repeated_requests_total")); n < short {
		t.Errorf("%d requests were taken by their head, %d were short enough", n, short)
	}
	if n := len(s.records(record.TopicTelemetry)); n != stored {
		t.Errorf("%d records, %d were stored", n, stored)
	}
	s.balanced()
}

func TestADeviceAboveItsRateIsToldWhenToComeBack(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.DeviceMessages, c.Limits.DeviceMessagesBurst = 0.01, 3 }, "eager", "calm")
	c := s.device("eager")
	for i := range 3 {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != 200 {
			t.Fatal(r.Raw)
		}
	}
	r := s.post(c, "/v1/telemetry", typeJSON, message(1, 3, ""))
	if r.Code != 429 || r.Reason != "device-rate" || r.Outcome != "not stored" {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	if wait, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || wait > 100 || wait < 40 { // 100 s a message, some of which have passed
		t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
	}
	if r := s.post(s.device("calm"), "/v1/telemetry", typeJSON, message(1, 3, "")); r.Code != 200 {
		t.Errorf("a neighbour: %s", r.Raw)
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

func TestADeviceWithTooManyConnectionsIsTold(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.ConnectionsPerDevice = 1 }, "boiler-1")
	if r := s.post(s.kept(s.ca.Device("boiler-1")), "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	r := s.post(s.device("boiler-1"), "/v1/telemetry", typeJSON, message(1, 2, ""))
	if r.Code != 429 || r.Reason != "device-connections" || !r.Close || r.Limit != 1 {
		t.Errorf("%d %s", r.Code, r.Raw)
	}
	s.balanced()
}

// dial opens a TLS connection of a device.
func (s *site) dial(id string, protocols ...string) *tls.Conn {
	s.t.Helper()
	return s.dialAs(s.ca.Device(id), protocols...)
}

func (s *site) dialAs(id gatewaytest.Identity, protocols ...string) *tls.Conn {
	s.t.Helper()
	cfg := s.ca.Client(id)
	cfg.NextProtos = protocols
	c, err := tls.Dial("tcp", s.gateway.Addr(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func request(length string, body []byte) []byte {
	return fmt.Appendf(nil, "POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n%s", length, body)
}

func TestABodyThatIsNotWhatItsHeadersSayStoresNothing(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.HeaderTimeout, c.Limits.IdleTimeout = 5*time.Second, time.Second }, "boiler-1")
	impatient := open(t, func(c *gateway.Config) { c.Limits.BodyTimeout, c.Limits.IdleTimeout = 2*time.Second, time.Second }, "boiler-1")
	good := message(1, 1, "")
	for name, x := range map[string]struct {
		raw   []byte
		end   bool // the client says that nothing follows
		codes string
	}{
		"13: longer than said":             {request(fmt.Sprintf("Content-Length: %d", len(good)-5), good), false, "400"},
		"13: shorter than said, and ended": {request(fmt.Sprintf("Content-Length: %d", len(good)+5), good), true, "400"},
		"13: shorter than said, and open":  {request(fmt.Sprintf("Content-Length: %d", len(good)+5), good), false, "408"},
		"13: chunks that are none":         {request("Transfer-Encoding: chunked", []byte("zz\r\nnonsense")), false, "400"},
		"13: a chunk cut short":            {request("Transfer-Encoding: chunked", []byte("40\r\n{\"boot\"")), true, "400"},
		"13: both lengths":                 {request("Content-Length: 3\r\nTransfer-Encoding: chunked", []byte("0\r\n\r\n")), false, "400"},
		"13: a length below zero":          {request("Content-Length: -1", nil), false, "400"},
		"13: two lengths":                  {request("Content-Length: 3\r\nContent-Length: 4", nil), false, "400"},
	} {
		at := s
		if x.codes == "408" {
			at = impatient
		}
		c := at.dial("boiler-1")
		if _, err := c.Write(x.raw); err != nil {
			t.Fatal(err)
		}
		if x.end {
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(c)
		if !strings.HasPrefix(string(got), "HTTP/1.1 "+x.codes) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for _, at := range []*site{s, impatient} {
		if n := len(at.records(record.TopicTelemetry)); n != 0 {
			t.Errorf("%d records", n)
		}
		at.balanced()
	}
}

func TestSlowClientsAreEndedAndOthersAreNotHeldUp(t *testing.T) {
	const slow = 40
	ended := make(chan string, 2*slow)
	pace := func(i int) time.Duration { // of a body's bytes
		if i%2 == 0 {
			return 10 * time.Millisecond
		}
		return time.Hour // not one comes
	}
	limit := func(body time.Duration) func(*gateway.Config) {
		return func(c *gateway.Config) {
			c.Limits.HeaderTimeout, c.Limits.BodyTimeout, c.Limits.Grace, c.Limits.MinRate = 3*time.Second, body, 200*time.Millisecond, 1000
			c.Limits.ConnectionsPerDevice = 200
		}
	}
	s := open(t, limit(time.Hour), "slow", "swift")
	var left []*tls.Conn
	for i := range slow {
		headers, bodies := s.dial("slow"), s.dial("slow")
		go trickle(headers, []byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nX: "), 10*time.Millisecond, ended)
		go trickle(bodies, request("Content-Length: 100000", nil), pace(i), make(chan string, 1))
		left = append(left, bodies)
	}
	swift := s.device("swift")
	for i := range 20 {
		if r := s.post(swift, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != 200 {
			t.Fatal(r.Raw)
		}
	}
	// Those that say nothing are there for as long as a body may take, which is longer than the test. Whoever waited for them is
	// not answered.
	if n := s.metric("muster_gateway_connections"); n < slow/2 {
		t.Errorf("when a neighbour had sent 20 messages %v connections were left", n)
	}
	impatient := open(t, limit(4*time.Second), "slow")
	for i := range slow {
		go trickle(impatient.dial("slow"), request("Content-Length: 100000", nil), pace(i), ended)
	}
	told := 0
	for range 2 * slow {
		select {
		case got := <-ended:
			if strings.HasPrefix(got, "HTTP/1.1 408") && strings.Contains(got, `"reason":"slow-body"`) {
				told++
			} else if got != "" && !strings.HasPrefix(got, "HTTP/1.1 408") {
				t.Errorf("%q", got)
			}
		case <-time.After(patience):
			t.Fatal("a slow connection stays open")
		}
	}
	if told != slow {
		t.Errorf("%d of %d slow bodies were told so", told, slow)
	}
	s.eventually("their connections are given back", func() bool { return s.metric("muster_gateway_connections") <= slow+1 })
	for _, c := range left {
		_ = c.Close()
	}
	for _, at := range []*site{s, impatient} {
		at.balanced()
		at.eventually("the others are given back too", func() bool { return at.metric("muster_gateway_connections") <= 1 })
	}
}

// trickle writes head, then a byte now and then, and says what it reads once the other end has closed.
func trickle(c *tls.Conn, head []byte, every time.Duration, ended chan<- string) {
	read := make(chan string, 1)
	go func() {
		got, _ := io.ReadAll(c) // the end may be a reset
		read <- string(got)
	}()
	_, _ = c.Write(head)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case got := <-read:
			ended <- got
			return
		case <-tick.C:
			_, _ = c.Write([]byte("x")) // fails once it is closed
		}
	}
}

func TestTooManyHeadersAreRefused(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.dial("boiler-1")
	go func() { // the gateway closes while it is written
		_, _ = c.Write([]byte("POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\n"))
		_, _ = c.Write(bytes.Repeat([]byte("X-Filler: "+strings.Repeat("y", 1000)+"\r\n"), 64))
		_, _ = c.Write([]byte("\r\n"))
	}()
	got := make([]byte, 12)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "HTTP/1.1 431" {
		t.Errorf("%q %v", got, err)
	}
}

func TestStreamsThatAreResetAtOnceEndTheConnection(t *testing.T) {
	s := open(t, nil, "boiler-1", "swift")
	c := s.dial("boiler-1", "h2")
	if _, err := c.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil)...)); err != nil {
		t.Fatal(err)
	}
	// POST https://localhost/v1/telemetry in HPACK literals.
	var block []byte
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/v1/telemetry"}, {"content-type", "application/json"}} {
		block = append(block, 0, byte(len(h[0])))
		block = append(block, h[0]...)
		block = append(block, byte(len(h[1])))
		block = append(block, h[1]...)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var head [9]byte
		for {
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			if head[3] == frameGoAway {
				return
			}
			if _, err := io.CopyN(io.Discard, c, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				return
			}
		}
	}()
	sent := 0
	for ; sent < 10_000; sent++ {
		id := uint32(2*sent + 1)
		const endHeaders, cancel = 4, 8
		both := append(frame(frameHeaders, endHeaders, id, block), frame(frameReset, 0, id, []byte{0, 0, 0, cancel})...)
		if _, err := c.Write(both); err != nil {
			break // closed on us
		}
	}
	select {
	case <-gone: // a GOAWAY, or the reset that overtook it
	case <-time.After(patience):
		if s.metric("muster_gateway_connections") > 1 {
			t.Fatalf("the connection lives after %d resets", sent)
		}
	}
	if r := s.post(s.device("swift"), "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != http.StatusOK {
		t.Errorf("afterwards: %s", r.Raw)
	}
	s.balanced()
}

// Types of HTTP/2 frames (RFC 9113).
const (
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	return append([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}, payload...)
}
