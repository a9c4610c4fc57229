package session

import (
	"fmt"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// Handler is what a server does with its connections. The calls for one connection come from its own goroutine, one after the
// other; a panic in them ends that connection alone.
type Handler interface {
	// Connect lets a client in, or says with false why not. It may change h.Assigned. Nothing of h may be kept but its strings.
	Connect(c *Conn, h *Hello) (Refusal, bool)
	// Publish takes a message; those of one connection come in the order in which the client sent them. It returns soon: while it
	// does not, the connection is not read. The message is the handler's until it calls m.Done, once, from any goroutine.
	Publish(c *Conn, m *Message)
	// Closed is the last call for a connection that Connect let in. Messages that are not done with may still be; the client will
	// not hear of it.
	Closed(c *Conn, why Ended)
}

// Hello is a CONNECT that kept the rules.
type Hello struct {
	Version        packet.Version
	ClientID       string // as it came; empty if the server is to choose
	User           string
	HasUser        bool
	Password       []byte // not kept, not logged
	CleanStart     bool
	KeepAlive      time.Duration // in force; 0: none was asked for, in 3.1.1
	ReceiveMaximum int           // of the client
	Will           bool          // it left one, which nobody will publish

	// Assigned is the client identifier that the client is told (5.0). Without one and without a ClientID it is told a random one.
	Assigned string
}

// Refusal is why a client is not let in. 3.1.1's return code is derived from the reason.
type Refusal struct {
	Reason          packet.Reason
	Text            string
	ServerReference string // with UseAnotherServer and ServerMoved
}

// Side is who ended a connection.
type Side uint8

const (
	ByNetwork Side = iota // the connection broke, or was closed without a word
	ByClient              // DISCONNECT came
	ByServer              // it ended for Reason, which a client of 5.0 was told
)

var sides = [...]string{"network", "client", "server"}

func (s Side) String() string { return sides[min(int(s), len(sides)-1)] }

// Ended is how a connection ended.
type Ended struct {
	By     Side
	Reason packet.Reason // the client's or ours; of the network, nothing
	Text   string
	Err    error // the network's
	Let    bool  // Connect had let it in
}

func (e Ended) String() string {
	switch {
	case e.By == ByNetwork && e.Err != nil:
		return fmt.Sprintf("the network: %v", e.Err)
	case e.Text != "":
		return fmt.Sprintf("the %v: %v: %s", e.By, e.Reason, e.Text)
	}
	return fmt.Sprintf("the %v: %v", e.By, e.Reason)
}
