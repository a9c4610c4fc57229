package repeat

import (
	"net/http"
	"strconv"
	"time"
)

// Answer is a response. Its headers are those that net/http would write.
type Answer struct {
	Status     int
	Type       string // of Body
	RetryAfter int    // seconds; 0 says nothing
	Close      bool   // this connection ends
	Body       []byte
}

// Append writes the response to dst.
func (a *Answer) Append(dst []byte, now time.Time) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.Status)...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, a.Type...)
	if a.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(a.RetryAfter), 10)
	}
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(a.Body)), 10)
	if a.Close {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, a.Body...)
}
