package session

import (
	"sync"
	"sync/atomic"

	"muster.dev/platform/mqtt/packet"
)

// Message is a PUBLISH. All of it is the handler's until Done.
type Message struct {
	packet.Publish
	Size int // of the whole packet

	conn  *Conn
	block *block
	known []byte // the topic, where an alias stood for it
	room  int
	done  atomic.Bool
}

// Kind is what became of a message.
type Kind uint8

const (
	Stored  Kind = iota // PUBACK
	Refused             // for good: PUBACK with the reason; 3.1.1: no PUBACK, and the end of the connection
	Slow                // not now, and nothing was kept: PUBACK 0x97; 3.1.1: as Refused
	Unsure              // nobody knows: no PUBACK, and the end of the connection, so that the client sends it again
	Skipped             // no PUBACK, and the connection lives: the client's owner asked for that
)

// Answer is what the handler says of a message. Of QoS 0 nothing is told to the client, but the connection ends where it says so.
type Answer struct {
	Kind   Kind
	Reason packet.Reason // of Refused and Unsure; 0: 0x83 and 0x89. A client is told the next best of those that its packet may have
	Text   string        // for the client's owner
	HangUp bool          // the connection ends after the answer, for the same reason
}

// Done answers the message and gives its memory back. It never blocks; whoever calls it may be the log's client. A second call is a
// fault of the handler: it does nothing, if the memory is not in use again already.
func (m *Message) Done(a Answer) {
	if m.done.Swap(true) {
		m.conn.settings.log().Error("an MQTT message was answered twice")
		return
	}
	c, qos, id := m.conn, m.QoS, m.ID
	m.free()
	c.answer(qos, id, a)
}

func (m *Message) free() {
	c := m.conn
	m.block.free()
	if m.room > 0 {
		c.settings.Room.Give(int64(m.room))
	}
	m.Publish, m.block, m.room, m.conn = packet.Publish{}, nil, 0, c
	messages.Put(m)
}

var messages = sync.Pool{New: func() any { return new(Message) }}

func newMessage(c *Conn, b *block, size, room int) *Message {
	m := messages.Get().(*Message)
	m.conn, m.block, m.Size, m.room = c, b, size, room
	m.done.Store(false)
	return m
}

// A block is memory for a packet; those of one size are used again and again.
type block struct {
	class int
	b     []byte // its length is the block's size
}

var sizes = [...]int{512, 4 << 10, 32 << 10, 256 << 10}

var blocks [len(sizes)]sync.Pool

// newBlock is a block of n bytes at least.
func newBlock(n int) *block {
	for class, size := range sizes {
		if n > size {
			continue
		}
		if b, ok := blocks[class].Get().(*block); ok {
			return b
		}
		return &block{class: class, b: make([]byte, size)}
	}
	return &block{class: len(sizes), b: make([]byte, n)}
}

// grown is a block of n bytes at least, with the first used of b, which is given back.
func (b *block) grown(used, n int) *block {
	bigger := newBlock(n)
	copy(bigger.b, b.b[:used])
	b.free()
	return bigger
}

func (b *block) free() {
	if b != nil && b.class < len(sizes) {
		blocks[b.class].Put(b)
	}
}
