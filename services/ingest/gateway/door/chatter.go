package door

import (
	"errors"
	"sync/atomic"
	"time"
)

// A connection of HTTP/2 can keep the gateway at work with frames that carry no message: pings, settings, headers that
// are continued by nothing. net/http bounds some of them, by memory; what they cost is CPU. So the bytes that come are
// counted against what requests bring: a connection may bring chatter of so many bytes, and so many more a second.
const (
	mostChatter      = 1 << 20
	chatterPerSecond = 1 << 10
)

var errChatter = errors.New("the connection brings bytes and no messages")

// chatter counts the bytes of a connection that no request has accounted for.
type chatter struct {
	bytes atomic.Int64
	began time.Time
}

// came counts bytes of the wire; false means that they are too many.
func (c *chatter) came(n int) bool {
	sum := c.bytes.Add(int64(n))
	return sum <= mostChatter || sum <= mostChatter+int64(time.Since(c.began).Seconds()*chatterPerSecond)
}

// account takes back what a request brought. What it brings above what came is no credit for later.
func (c *chatter) account(n int64) {
	for {
		have := c.bytes.Load()
		if c.bytes.CompareAndSwap(have, max(have-n, 0)) {
			return
		}
	}
}
