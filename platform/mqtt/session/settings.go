package session

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// Limits are what one connection may take.
type Limits struct {
	Connect      time.Duration // from the first byte waited for until CONNECT is there
	ConnectBytes int           // CONNECT's length

	Packet         int           // a whole packet's length, afterwards
	Body           time.Duration // from a packet's first byte to its last
	Topic          int           // a topic's length
	ReceiveMaximum int           // messages that the handler has and has not answered
	Aliases        int           // topic aliases
	Chatter        int           // packets a minute that bring no message, a KiB of one counting as one more; so many may come at once

	KeepAliveLeast   time.Duration // what a client asks for is brought between the two;
	KeepAliveMost    time.Duration
	KeepAliveDefault time.Duration // one that wants none is told this (5.0),
	Silence          time.Duration // or may be silent for so long (3.1.1)

	Write    time.Duration // for the client to take what is written
	Farewell time.Duration // for the last words
	Pause    time.Duration // before the end of a 3.1.1 connection whose message was not taken: it cannot be told to wait
	Drain    time.Duration // for what the handler has, when the server stops
}

// DefaultLimits are the published ones.
func DefaultLimits() Limits {
	return Limits{
		Connect: 5 * time.Second, ConnectBytes: 4 << 10,
		Packet: 256 << 10, Body: 15 * time.Second, Topic: 1 << 10, ReceiveMaximum: 64, Aliases: 16, Chatter: 600,
		KeepAliveLeast: 10 * time.Second, KeepAliveMost: 300 * time.Second, KeepAliveDefault: 60 * time.Second, Silence: 300 * time.Second,
		Write: 10 * time.Second, Farewell: 100 * time.Millisecond, Pause: time.Second, Drain: 10 * time.Second,
	}
}

// Validate names the first that cannot be.
func (l Limits) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"connect", l.Connect}, {"body", l.Body}, {"keep alive at least", l.KeepAliveLeast}, {"keep alive at most", l.KeepAliveMost},
		{"keep alive by default", l.KeepAliveDefault}, {"silence", l.Silence}, {"write", l.Write}, {"farewell", l.Farewell},
	} {
		if d.value <= 0 {
			return fmt.Errorf("MQTT limit %q is %v, and has to be more than 0", d.name, d.value)
		}
	}
	switch {
	case l.KeepAliveMost < l.KeepAliveLeast || l.KeepAliveMost > 65_535*time.Second || l.KeepAliveLeast < time.Second:
		return fmt.Errorf("MQTT keep alive between %v and %v: it has to be from 1s to 65535s", l.KeepAliveLeast, l.KeepAliveMost)
	case l.KeepAliveDefault < l.KeepAliveLeast || l.KeepAliveDefault > l.KeepAliveMost:
		return fmt.Errorf("MQTT keep alive %v by default: it has to be from %v to %v", l.KeepAliveDefault, l.KeepAliveLeast, l.KeepAliveMost)
	case l.ConnectBytes < 64 || l.ConnectBytes > l.Packet:
		return fmt.Errorf("MQTT CONNECT of %d bytes at most: it has to be from 64 to a packet's %d", l.ConnectBytes, l.Packet)
	case l.Packet > packet.MaxLength:
		return fmt.Errorf("MQTT packets of %d bytes at most: the format ends at %d", l.Packet, packet.MaxLength)
	case l.Topic < 1 || l.Topic > 65_535:
		return fmt.Errorf("MQTT topics of %d bytes at most: it has to be from 1 to 65535", l.Topic)
	case l.ReceiveMaximum < 1 || l.ReceiveMaximum > 65_535:
		return fmt.Errorf("MQTT receive maximum %d: it has to be from 1 to 65535", l.ReceiveMaximum)
	case l.Chatter < 1:
		return fmt.Errorf("%d MQTT packets a minute that bring no message: it has to be 1 at least", l.Chatter)
	case l.Aliases < 0 || l.Aliases > 65_535:
		return fmt.Errorf("%d MQTT topic aliases: it has to be from 0 to 65535", l.Aliases)
	}
	return nil
}

// Settings are what the connections of one server share.
type Settings struct {
	Limits Limits
	Log    *slog.Logger // of what should never be: a handler that panics
	// Packet, if there is one, hears of each packet that was read, its header being in order.
	Packet func(packet.Type)
	// Room, if there is one, is the memory that the messages of all connections share.
	Room Room
}

// Room is memory for messages that are being read. Each message takes what it is long, as its bytes come, and gives it back when it
// is done with; where there is none left, it is answered Slow and no more of it is read into memory.
type Room interface {
	Take(bytes int64) bool
	Give(bytes int64)
}

func (s *Settings) log() *slog.Logger { return cmp.Or(s.Log, slog.Default()) }
