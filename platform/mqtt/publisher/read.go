package publisher

import (
	"errors"
	"fmt"
	"os"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// mostTold is the longest packet that a client lets a server send: a publish-only server has little to say.
const mostTold = 4 << 10

// input is what was read and not understood yet.
type input struct {
	buf []byte // its length is its capacity
	n   int
}

// next takes the packet off that in begins with; body is good until the next read. Without an error, ok is false if there is too little.
func (in *input) next() (h packet.Header, body []byte, size int, ok bool, err error) {
	h, n, err := packet.ParseHeader(in.buf[:in.n])
	switch {
	case err != nil || n == 0:
		return h, nil, 0, false, err
	case n+h.Length > mostTold:
		return h, nil, 0, false, fmt.Errorf("the server sent a packet of %d bytes", n+h.Length)
	case n+h.Length > in.n:
		return h, nil, 0, false, nil
	}
	return h, in.buf[n : n+h.Length], n + h.Length, true, nil
}

func (in *input) drop(size int) { in.n = copy(in.buf, in.buf[size:in.n]) }

func (in *input) read(p *Publisher) error {
	if in.n == len(in.buf) {
		in.buf = append(in.buf, make([]byte, max(256, len(in.buf)))...)
	}
	n, err := p.conn.Read(in.buf[in.n:])
	in.n += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// greet sends CONNECT and reads its answer.
func (p *Publisher) greet(o Options) (*input, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(p.patience))
	k := packet.Connect{Version: p.version, CleanStart: true, KeepAlive: uint16(min(o.KeepAlive/time.Second, 65_535)), ClientID: []byte(o.ClientID),
		User: []byte(o.User), HasUser: o.User != "", Password: o.Password, HasPass: len(o.Password) > 0, MaximumPacket: mostTold}
	if err := p.write(k.Append); err != nil {
		return nil, err
	}
	in := &input{}
	for {
		h, body, size, ok, err := in.next()
		switch {
		case err != nil:
			return nil, err
		case ok && h.Type != packet.CONNACK:
			return nil, fmt.Errorf("the server answered CONNECT by %v", h.Type)
		case ok:
			if err := p.hello.Decode(body, p.version); err != nil {
				return nil, err
			}
			if p.hello.Reason.Failed() {
				return nil, &Refused{Reason: p.hello.Reason, Text: p.hello.Text}
			}
			in.drop(size)
			return in, nil
		}
		if err := in.read(p); err != nil {
			return nil, err
		}
	}
}

// read hears the server until the connection ends, and asks it for a word where it has none.
func (p *Publisher) read(in *input) {
	asked := false
	for {
		for {
			h, body, size, ok, err := in.next()
			if err == nil && ok {
				err = p.heard(h, body)
				in.drop(size)
			}
			if err != nil {
				ended, is := errors.AsType[*Ended](err)
				if !is {
					ended = &Ended{Err: err}
				}
				p.end(ended)
				return
			}
			if !ok {
				break
			}
			asked = false
		}
		_ = p.conn.SetReadDeadline(time.Now().Add(p.silence))
		err := in.read(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if asked {
				p.end(&Ended{Err: errors.New("the server does not answer")})
				return
			}
			asked = true
			err = p.write(packet.AppendPingreq)
		}
		if err != nil {
			p.end(&Ended{Err: err})
			return
		}
	}
}

func (p *Publisher) heard(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBACK:
		var k packet.Puback
		if err := k.Decode(body, p.version); err != nil {
			return err
		}
		p.answer(k.ID, func(done func(error)) {
			if k.Reason.Failed() {
				done(&Refused{Reason: k.Reason, Text: k.Text})
			} else {
				done(nil)
			}
		})
		return nil
	case packet.PINGRESP:
		return h.Empty()
	case packet.DISCONNECT:
		var k packet.Disconnect
		if err := k.Decode(body, p.version); err != nil {
			return err
		}
		return &Ended{Reason: k.Reason, Text: k.Text, Reference: k.ServerReference}
	}
	return fmt.Errorf("the server sent %v", h.Type)
}
