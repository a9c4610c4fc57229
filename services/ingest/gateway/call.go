package gateway

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/mqtt/session"
	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/body"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/gateway/door"
	"muster.dev/services/ingest/gateway/recent"
	"muster.dev/services/ingest/gateway/topic"
)

// call is the memory of one request. Its record is not copied into the log's client: body, key and headers stay where
// they are until the log has answered. So a call has two holders from the moment it is published, the handler and the
// log's answer, and goes back into the pool when both have let go.
type call struct {
	g       *Gateway
	holders atomic.Int32
	spoiled atomic.Bool // not to be used again: the log's client, or a joined request, may still look at it

	at     time.Time      // when its headers were read: the record's time
	peer   *door.Peer     // nil until it is known who asks
	device *roster.Device // never nil; not to be written to
	seat   *clones.Seat   // nil until it is known who asks
	hangUp bool
	acting
	named string // the other device that the body names, of a DeviceMismatch
	heading

	reader body.Reader
	src    bytes.Reader // over the body of a repeated request
	body   []byte       // as the device meant it, decompressed
	value  []byte       // what goes into the log: body, or out
	out    []byte

	batch   batch.Batch
	builder *batch.Builder
	faults  []batch.Fault
	keyed   bool
	boot    uint32
	seq     uint64
	schema  *roster.Schema // nil: the message is self-contained

	record  kgo.Record
	key     []byte
	headers [4]kgo.RecordHeader
	stamp   [8]byte
	number  [10]byte // the schema's id in decimal
	flight  recent.Flight
	derived bool // its key in the window is made of its content, see derive
	content recent.Key
	place   int // among those of one body, see chorus
	// Of MQTT.
	message       *session.Message
	topic         topic.Topic
	working       bool  // it holds a place among the requests at work
	handed        bool  // it was submitted: its fate will be heard, unless it is known at once
	pending       bool  // guarded by its link: it stands in the list, between
	before, after *call // guarded by its link

	traced *spans     // nil unless the message is sampled
	waiter waiter     // hears of the message's end; nil: acked does
	acked  chan error // capacity 1: the log's answer never waits for the handler
	timer  *time.Timer
	landed func(*kgo.Record, error) // made once, not per request

	receipt answer.Receipt
	problem answer.Problem
	reply   []byte
	wire    []byte // a whole response
}

// waiter is one that does not wait in a goroutine of its own for what it handed over.
type waiter interface {
	// heard is told once what became of a call's message. It runs in the log's client and must not wait. The call is
	// its own until it returns.
	heard(c *call, f fate)
}

// nobody is the device of a call that does not get so far as to know its own.
var nobody roster.Device

func newCall(g *Gateway) *call {
	c := &call{g: g, acked: make(chan error, 1), builder: batch.NewBuilder(), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	c.landed = c.land
	return c
}

func (c *call) begin(s stream) {
	c.holders.Store(1)
	c.heading, c.at = heading{stream: s}, time.Now()
	c.peer, c.device, c.seat, c.hangUp = nil, &nobody, nil, false
	c.agent, c.derived = nil, false
	c.keyed, c.boot, c.seq, c.schema = false, 0, 0, nil
	c.traced, c.waiter = nil, nil
	c.message, c.topic, c.working, c.handed = nil, topic.Topic{}, false, false
	c.faults = c.faults[:0]
	c.receipt = answer.Receipt{Quarantined: c.receipt.Quarantined[:0]}
}

// release is called once by each holder.
func (c *call) release() {
	if c.holders.Add(-1) > 0 {
		return
	}
	c.reader.Release()
	c.src.Reset(nil)
	c.body, c.value, c.message = nil, nil, nil
	if c.spoiled.Load() {
		return
	}
	if cap(c.out) > 64<<10 {
		c.out = nil // a rare large message must not pin memory for ever
	}
	c.g.calls.Put(c)
}

// problemf fills the call's problem; it is valid until the call is released.
func (c *call) problemf(r answer.Reason, field string, limit int64, format string, args ...any) *answer.Problem {
	c.problem = answer.Problem{Reason: r, Field: field, Limit: limit, Detail: fmt.Sprintf(format, args...)}
	return &c.problem
}
