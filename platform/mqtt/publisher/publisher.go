package publisher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// Options are how a client introduces itself. The zero value is one of 5.0 whose identifier the server chooses.
type Options struct {
	Version   packet.Version // 0: 5.0
	ClientID  string
	User      string
	Password  []byte
	KeepAlive time.Duration // 0: a minute; the server may say otherwise
	Window    int           // messages of QoS 1 on their way; 0: 16; never more than the server takes
	Patience  time.Duration // for CONNACK, and for what is written; 0: 10 s
}

// Message is what is published.
type Message struct {
	Topic       string
	Payload     []byte
	QoS         byte
	Retain      bool
	Dup         bool
	ContentType string            // 5.0
	User        []packet.Property // 5.0
}

// Refused is the server's no: to the connection, or to one message, which is not to be sent again.
type Refused struct {
	Reason packet.Reason
	Text   string
}

func (e *Refused) Error() string {
	if e.Text == "" {
		return "refused: " + e.Reason.String()
	}
	return fmt.Sprintf("refused: %v: %s", e.Reason, e.Text)
}

// Ended is that the connection is over. A message that ends so may have been stored or not.
type Ended struct {
	Reason    packet.Reason // what the server said in DISCONNECT, if it said something
	Text      string
	Reference string // another server
	Err       error  // else what happened
}

func (e *Ended) Error() string {
	if e.Err != nil {
		return "the connection ended: " + e.Err.Error()
	}
	return fmt.Sprintf("the server ended the connection: %v: %s", e.Reason, e.Text)
}

func (e *Ended) Unwrap() error { return e.Err }

// Publisher is one connection.
type Publisher struct {
	conn     net.Conn
	version  packet.Version
	most     int
	patience time.Duration
	silence  time.Duration // after so long without a word of the server it is asked for one
	hello    packet.Connack

	free   chan uint16   // packet identifiers that are not in use
	ended  chan struct{} // closed when err is set
	reader sync.WaitGroup

	writing sync.Mutex // guards the writing side and buf
	buf     []byte

	mu     sync.Mutex // guards what follows
	err    *Ended
	inform []func(error) // by packet identifier, less one
}

// Dial introduces a client on conn, which is its own from then on. It fails with *Refused where the server lets it not in.
func Dial(ctx context.Context, conn net.Conn, o Options) (*Publisher, error) {
	p := &Publisher{conn: conn, version: o.Version, patience: o.Patience, ended: make(chan struct{}), most: packet.MaxLength}
	if p.version == 0 {
		p.version = packet.V5
	}
	if p.patience == 0 {
		p.patience = 10 * time.Second
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Minute
	}
	if o.Window == 0 {
		o.Window = 16
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	in, err := p.greet(o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("connecting by MQTT: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	if p.hello.ReceiveMaximum != 0 {
		o.Window = min(o.Window, int(p.hello.ReceiveMaximum))
	}
	if p.hello.MaximumPacket != 0 {
		p.most = int(min(p.hello.MaximumPacket, packet.MaxLength))
	}
	if p.hello.KeepAlive != nil && *p.hello.KeepAlive != 0 { // 0 is a server that does not care, and it is asked all the same
		o.KeepAlive = time.Duration(*p.hello.KeepAlive) * time.Second
	}
	p.silence = o.KeepAlive * 3 / 4
	p.free, p.inform = make(chan uint16, o.Window), make([]func(error), o.Window)
	for i := range o.Window {
		p.free <- uint16(i + 1)
	}
	p.reader.Go(func() { p.read(in) })
	return p, nil
}

// Hello is what the server answered to CONNECT.
func (p *Publisher) Hello() packet.Connack { return p.hello }

// Ended is closed when the connection is over; Err then says why.
func (p *Publisher) Ended() <-chan struct{} { return p.ended }

// Err is nil while the connection lives.
func (p *Publisher) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	return p.err
}

// Publish sends a message and, with QoS 1, waits for its answer: nil is that it is stored, *Refused that it is not and will not be,
// *Ended or the context's error that nobody knows.
func (p *Publisher) Publish(ctx context.Context, m Message) error {
	answer := make(chan error, 1)
	if err := p.Send(ctx, m, func(err error) { answer <- err }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Send sends a message without waiting for its answer, but until there is room for one more on its way. An error is that it was
// not sent; else done is called once, soon with QoS 0: it may not block, nor call Close.
func (p *Publisher) Send(ctx context.Context, m Message, done func(error)) error {
	var id uint16
	if m.QoS > 0 {
		select {
		case id = <-p.free:
		case <-p.ended:
			return p.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
		if p.err != nil {
			p.mu.Unlock()
			return p.err
		}
		p.inform[id-1] = done
		p.mu.Unlock()
	}
	err := p.write(func(dst []byte) []byte {
		k := packet.Publish{Dup: m.Dup, QoS: m.QoS, Retain: m.Retain, ID: id, Payload: m.Payload, Topic: []byte(m.Topic)}
		if m.ContentType != "" {
			k.ContentType = []byte(m.ContentType)
		}
		return k.Append(dst, p.version, m.User...)
	})
	var large *tooLarge
	switch {
	case errors.As(err, &large): // nothing of it was written
		p.answer(id, nil)
		return err
	case err != nil:
		p.end(&Ended{Err: err})
		if id == 0 {
			return err
		}
	case id == 0:
		done(nil)
	}
	return nil
}

// Close says goodbye and ends the connection.
func (p *Publisher) Close() error {
	_ = p.write(func(dst []byte) []byte { return (&packet.Disconnect{}).Append(dst, p.version) })
	p.end(&Ended{Err: net.ErrClosed})
	p.reader.Wait()
	return nil
}

type tooLarge struct{ size, most int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("a packet of %d bytes, where the server takes %d at most", e.size, e.most)
}

func (p *Publisher) write(to func([]byte) []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.buf = to(p.buf[:0])
	if len(p.buf) > p.most {
		return &tooLarge{len(p.buf), p.most}
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.patience))
	_, err := p.conn.Write(p.buf)
	if cap(p.buf) > 64<<10 {
		p.buf = nil
	}
	return err
}

// answer frees an identifier and gives who waits for it the answer.
func (p *Publisher) answer(id uint16, tell func(func(error))) {
	if id == 0 || int(id) > len(p.inform) {
		return
	}
	p.mu.Lock()
	done := p.inform[id-1]
	p.inform[id-1] = nil
	p.mu.Unlock()
	if done == nil {
		return // twice answered, or ended
	}
	if tell != nil {
		tell(done)
	}
	p.free <- id
}

// end is the end of the connection, for all who wait.
func (p *Publisher) end(why *Ended) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = why
	waiting := p.inform
	p.inform = make([]func(error), len(waiting))
	close(p.ended)
	p.mu.Unlock()
	_ = p.conn.Close()
	for _, done := range waiting {
		if done != nil {
			done(why)
		}
	}
}
