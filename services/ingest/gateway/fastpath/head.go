package fastpath

import "bytes"

// mostHead is the longest head that is remembered: each connection holds one.
const mostHead = 1 << 10

// mostDigits of a Content-Length are read; far above what fits the buffer.
const mostDigits = 7

// head is a request line and headers, with the empty line that ends them.
type head struct {
	p        []byte
	from, to int // where the digits of its Content-Length stand
}

// keep remembers the head that p begins with, and forgets the one before it. It is false when there is none that can be
// told with certainty: lines must end with CR LF, all of them, since net/http also takes a bare LF and would then see
// another end of the head.
func (h *head) keep(p []byte) bool {
	h.p = h.p[:0]
	i := bytes.Index(p[:min(len(p), mostHead)], []byte("\r\n\r\n"))
	if i < 0 {
		return false
	}
	p = p[:i+4]
	if bytes.Count(p, []byte("\n")) != bytes.Count(p, []byte("\r\n")) {
		return false
	}
	h.p = append(h.p, p...)
	return true
}

// split finds the length, which net/http took to be this one. It is false when that does not stand there once and
// plainly: in two places, with blanks behind it, or not what counts, because the body is chunked.
func (h *head) split(length int64) bool {
	h.from, h.to = 0, 0
	for at := 0; at < len(h.p); {
		line, _, _ := bytes.Cut(h.p[at:], []byte("\r\n"))
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if h.from > 0 {
				return false
			}
			h.to = at + len(line)
			h.from = h.to - len(bytes.TrimLeft(value, " \t"))
		}
		at += len(line) + 2
	}
	size, whole := h.match(h.p)
	return size == len(h.p) && int64(whole-size) == length
}

// match says whether p begins with the head, whatever its length says: how many bytes the head has here, and how many
// with its body. They are 0 if it does not.
func (h *head) match(p []byte) (size, whole int) {
	rest, ok := bytes.CutPrefix(p, h.p[:h.from])
	if !ok {
		return 0, 0
	}
	n, length := 0, 0
	for ; n < min(len(rest), mostDigits) && '0' <= rest[n] && rest[n] <= '9'; n++ {
		length = length*10 + int(rest[n]-'0')
	}
	if n == 0 || !bytes.HasPrefix(rest[n:], h.p[h.to:]) {
		return 0, 0
	}
	size = h.from + n + len(h.p) - h.to
	return size, size + length
}
