package repeat

import (
	"bytes"
	"net/http"
	"strings"
)

// mostHead is the longest head that is remembered: each connection holds one.
const mostHead = 1 << 10

// head is a request line and headers, with the empty line that ends them, and where the digits of its Content-Length
// stand.
type head struct {
	p        []byte
	from, to int
}

// headOf gives the head that p begins with, nil when there is none that can be told with certainty. Lines must end with
// CR LF, all of them: net/http also takes a bare LF, and would then see another end of the head than is found here.
func headOf(p []byte) []byte {
	if len(p) == 0 || p[0] < 'A' || p[0] > 'Z' { // net/http skips empty lines behind a POST
		return nil
	}
	i := bytes.Index(p[:min(len(p), mostHead)], []byte("\r\n\r\n"))
	if i < 0 {
		return nil
	}
	p = p[:i+4]
	if bytes.Count(p, []byte{'\n'}) != bytes.Count(p, []byte("\r\n")) {
		return nil
	}
	return p
}

// set remembers p, a head that net/http took for a request with this length. It is false when the length is not there
// once and plainly, and nothing is remembered then.
func (h *head) set(p []byte, length int64) bool {
	h.p = append(h.p[:0], p...)
	h.from, h.to = 0, 0
	for at := 0; at < len(p); {
		line, _, _ := bytes.Cut(p[at:], []byte("\r\n"))
		name, value, _ := strings.Cut(string(line), ":")
		if strings.EqualFold(name, "Content-Length") {
			if h.from > 0 {
				return h.forget()
			}
			digits := strings.TrimLeft(value, " \t")
			h.from = at + len(line) - len(digits)
			h.to = h.from + len(strings.TrimRight(digits, " \t"))
		}
		at += len(line) + 2
	}
	if h.from == 0 {
		return h.forget()
	}
	if n, size := h.match(p); n != length || size != len(p) {
		return h.forget()
	}
	return true
}

func (h *head) forget() bool {
	h.p = h.p[:0]
	return false
}

// match says whether p begins with the head, whatever its length says; size is 0 if it does not.
func (h *head) match(p []byte) (length int64, size int) {
	if len(h.p) == 0 || len(p) < len(h.p)-(h.to-h.from)+1 || !bytes.Equal(p[:h.from], h.p[:h.from]) {
		return 0, 0
	}
	const mostDigits = 7 // far above what fits the buffer
	i := h.from
	for ; i < len(p) && i < h.from+mostDigits && '0' <= p[i] && p[i] <= '9'; i++ {
		length = length*10 + int64(p[i]-'0')
	}
	if i == h.from || p[h.from] == '0' || !bytes.HasPrefix(p[i:], h.p[h.to:]) {
		return 0, 0
	}
	return length, i + len(h.p) - h.to
}

// Repeatable says whether a request means the same when its head comes again: nothing in it is a conversation with
// the server, or of this one request.
func Repeatable(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Method != http.MethodPost || r.ContentLength <= 0 || r.Close || len(r.TransferEncoding) > 0 {
		return false
	}
	for _, name := range []string{"Expect", "Upgrade", "Trailer", "Traceparent"} {
		if _, has := r.Header[name]; has {
			return false
		}
	}
	return true
}
