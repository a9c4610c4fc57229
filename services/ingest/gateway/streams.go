package gateway

import (
	"io"
	"net/http"
	"time"

	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/door"
)

// What a request of HTTP/2 accounts for on its connection: its headers and the frames around them, and for each read of
// its body the frame that it came in. The bytes themselves count twice, since a frame may be small.
const (
	bytesOfHead  = 64 << 10
	bytesOfFrame = 128
)

// streamed is the body of a request of HTTP/2.
type streamed struct {
	io.Reader
	peer *door.Peer
}

// bodyOf is where the body of a request is read from.
func bodyOf(r *http.Request, peer *door.Peer) io.Reader {
	if r.ProtoMajor != 2 || peer == nil {
		return r.Body
	}
	peer.Account(bytesOfHead)
	return &streamed{r.Body, peer}
}

func (s *streamed) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if n > 0 {
		s.peer.Account(2*int64(n) + bytesOfFrame)
	}
	return n, err
}

// drainFor is how long a refusal waits for the rest of a body.
const drainFor = 5 * time.Second

// drain reads on in the body of a request of HTTP/2 that is to be refused. The answer could come before the body has
// ended (RFC 9113, 8.1), but there are clients that drop it then, curl 7 among them; and reading on after the answer
// would wait in vain for those that stop sending once they have it, as Go's does. It reads twice what a body may have,
// keeps nothing, and charges it to the device. Of a message that is to be sent again it reads as much as net/http does
// over HTTP/1.1, and charges nothing: the device would only be further behind.
func (g *Gateway) drain(w http.ResponseWriter, r *http.Request, c *call, p *answer.Problem, src io.Reader) {
	most, again := 2*g.cfg.Limits.Body, p.Retry() > 0
	if again {
		most = 256 << 10
	}
	if r.ProtoMajor != 2 || r.ContentLength > most || c.device.No == 0 || p.Reason == answer.SlowBody {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainFor)); err != nil {
		return // it has gone
	}
	n, _ := io.CopyN(io.Discard, src, most) // how it ends is the client's affair
	if !again {
		g.chargeMore(c, n)
	}
}
