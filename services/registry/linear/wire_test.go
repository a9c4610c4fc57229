package linear

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// point is a place in a registry's talk with the log, where it kills or stops itself: at the Nth request of this kind,
// before it is sent, once it is sent, or when its answer is there and nobody has seen it. Phase replying is another one:
// before a client is answered.
type point struct {
	Key   int16
	Phase phase
	Nth   int32
}

type phase string

const (
	asking   phase = "asking"
	sent     phase = "sent"
	answered phase = "answered"
	replying phase = "replying"
)

// points are the places in the order in which a registry passes them.
var points = func() []point {
	var all []point
	for _, key := range []kmsg.Key{kmsg.OffsetFetch, kmsg.InitProducerID, kmsg.OffsetCommit, kmsg.ListOffsets, kmsg.Fetch, kmsg.Produce, kmsg.EndTxn} {
		for _, phase := range []phase{asking, sent, answered} {
			all = append(all, point{Key: key.Int16(), Phase: phase})
		}
	}
	return append(all, point{Phase: replying})
}()

// draw is a point, and how often it is to be passed: a registry opens once and writes for long.
func draw(random *rand.Rand) point {
	p := points[random.IntN(len(points))]
	often := int32(20)
	switch p.Key {
	case kmsg.InitProducerID.Int16():
		often = 1
	case kmsg.OffsetFetch.Int16(), kmsg.OffsetCommit.Int16():
		often = 2
	case kmsg.ListOffsets.Int16(), kmsg.Fetch.Int16():
		often = 8
	}
	if p.Phase == replying {
		often = 40
	}
	p.Nth = 1 + random.Int32N(often)
	return p
}

func (p point) String() string {
	if p.Phase == replying {
		return "answering a client"
	}
	return kmsg.NameForKey(p.Key) + " " + string(p.Phase)
}

// trap does to this process what is meant for it when it comes to a point.
type trap struct {
	at     point
	signal syscall.Signal
	passed atomic.Int32
}

func (w *trap) pass(key int16, at phase) {
	if w == nil || w.at.Phase != at || at != replying && w.at.Key != key || w.passed.Add(1) != w.at.Nth {
		return
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	if err := syscall.Kill(os.Getpid(), w.signal); err != nil {
		panic(err)
	}
	<-continued // never, after SIGKILL; and nothing is done here before the signal has come to the other threads
}

// dial is an eventlog.Config's Dialer that has the talk watched.
func (w *trap) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, trap: w, asked: map[int32]int16{}}, nil
}

// wire is a connection to the log. Kafka's frames begin with their length; a request's goes on with its key, version and
// number, an answer's with the number.
type wire struct {
	net.Conn
	trap  *trap
	mu    sync.Mutex
	asked map[int32]int16 // key by number, of requests that are not answered

	head []byte // of the answer that is being read, until its number is known
	body int    // bytes of it that are still to come
}

// Write sees a whole request: that is how the client writes them.
func (c *wire) Write(p []byte) (int, error) {
	if len(p) < 12 || int(binary.BigEndian.Uint32(p)) != len(p)-4 {
		panic("the client does not write a request at a time any more")
	}
	key := int16(binary.BigEndian.Uint16(p[4:]))
	c.mu.Lock()
	c.asked[int32(binary.BigEndian.Uint32(p[8:]))] = key
	c.mu.Unlock()
	c.trap.pass(key, asking)
	n, err := c.Conn.Write(p)
	if err == nil {
		c.trap.pass(key, sent)
	}
	return n, err
}

func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if c.body > 0 {
			skip := min(c.body, len(rest))
			c.body, rest = c.body-skip, rest[skip:]
			continue
		}
		take := min(8-len(c.head), len(rest))
		c.head, rest = append(c.head, rest[:take]...), rest[take:]
		if len(c.head) < 8 {
			break
		}
		c.body = int(binary.BigEndian.Uint32(c.head)) - 4
		number := int32(binary.BigEndian.Uint32(c.head[4:]))
		c.head = c.head[:0]
		c.mu.Lock()
		key := c.asked[number]
		delete(c.asked, number)
		c.mu.Unlock()
		c.trap.pass(key, answered)
	}
	return n, err
}
