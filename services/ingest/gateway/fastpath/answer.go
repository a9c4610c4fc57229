package fastpath

import (
	"net/http"
	"strconv"
	"time"
)

// Answer is a response. It reads the same whether Append makes it or Send has net/http do so.
type Answer struct {
	Status     int
	Type       string // of Body
	RetryAfter int    // seconds; 0 says nothing
	Close      bool   // this connection ends
	Body       []byte
}

// Send says it by net/http.
func (a *Answer) Send(w http.ResponseWriter) error {
	h := w.Header()
	if a.Close {
		h.Set("Connection", "close")
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body))) // else a long one comes in chunks, which small clients do not read
	h.Set("Content-Type", a.Type)
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	w.WriteHeader(a.Status)
	_, err := w.Write(a.Body)
	return err
}

// Append writes it to dst, with its headers in net/http's order.
func (a *Answer) Append(dst []byte, now time.Time) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.Status)...)
	if a.Close {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(a.Body)), 10)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, a.Type...)
	if a.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(a.RetryAfter), 10)
	}
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, a.Body...)
}
