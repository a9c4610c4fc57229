package clickhouse

import (
	"net"
	"sync"
)

// bounded is a listener that closes at once what comes above its bound of open connections. Leaving it in the
// kernel's queue would not tell its client to go elsewhere.
type bounded struct {
	net.Listener
	open lane
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.try() {
			return &counted{Conn: c, open: b.open}, nil
		}
		_ = c.Close() // refused: how it closes is of no interest
	}
}

// counted gives its place back when it closes.
type counted struct {
	net.Conn
	open lane
	once sync.Once
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.open.leave)
	return err
}
