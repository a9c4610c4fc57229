package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster.dev/fleet/edge/intake"
	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/session"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// Settings are what code passes.
type Settings struct {
	Log *slog.Logger
	// Opened and Closed hear of connections, Refused of a CONNECT or a PUBLISH that went no further than this room, by what was wrong.
	Opened  func()
	Closed  func()
	Refused func(reason string)
}

// Listener is a Source.
type Listener struct {
	cfg       Config
	s         Settings
	listener  net.Listener
	passwords *passwords // nil: none are asked for

	mu    sync.Mutex
	known map[string]*session.Conn // by client id, of those that were let in
}

// client is a connection's tag.
type client struct {
	id     string          // as the client calls its connection
	name   string          // whom it was found to be; empty where nobody is asked
	device identity.Device // its own; empty: it has none, and speaks for others only
}

// Open listens, and takes nobody in before Run.
func Open(cfg Config, s Settings) (*Listener, error) {
	l := &Listener{cfg: cfg, s: s, known: map[string]*session.Conn{}}
	var err error
	if cfg.Passwords != "" {
		if l.passwords, err = openPasswords(cfg.Passwords); err != nil {
			return nil, err
		}
	}
	var m *material
	if cfg.tls() {
		if m, err = openMaterial(cfg.TLS); err != nil {
			return nil, err
		}
	}
	if l.listener, err = net.Listen("tcp", cfg.address()); err != nil {
		return nil, fmt.Errorf("listen for local devices: %w", err)
	}
	if m != nil {
		l.listener = tls.NewListener(l.listener, m.server())
	}
	return l, nil
}

// Addr is where it listens.
func (l *Listener) Addr() string { return l.listener.Addr().String() }

// Name is Source's.
func (l *Listener) Name() string { return "mqtt" }

// Run is Source's.
func (l *Listener) Run(ctx context.Context, to intake.Taker) error {
	stop := context.AfterFunc(ctx, func() { _ = l.listener.Close() })
	defer stop()
	settings := &session.Settings{Limits: session.DefaultLimits(), Log: l.s.Log, Room: &room{limit: l.cfg.Memory, refused: l.s.Refused}}
	settings.Limits.ReceiveMaximum = l.cfg.InFlight
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, l.cfg.Connections)
	for {
		conn, err := l.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listen for local devices: %w", err)
		case err != nil: // out of descriptors, as a rule, and it passes
			l.s.Refused("accept")
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case free <- struct{}{}:
		default:
			l.s.Refused("connections")
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			l.s.Opened()
			defer l.s.Closed()
			session.Serve(ctx, conn, settings, &desk{l, to})
		})
	}
}

// room is the memory that the messages of all connections share. Where there is none left, a client is told to wait.
type room struct {
	limit   int64
	refused func(reason string)
	taken   atomic.Int64
}

// Take is session.Room's.
func (r *room) Take(n int64) bool {
	if r.taken.Add(n) <= r.limit {
		return true
	}
	r.taken.Add(-n)
	r.refused("memory")
	return false
}

// Give is session.Room's.
func (r *room) Give(n int64) { r.taken.Add(-n) }

// desk is the listener as one connection's handler.
type desk struct {
	*Listener
	to intake.Taker
}

// Connect lets in whom the configuration knows.
func (d *desk) Connect(c *session.Conn, h *session.Hello) (session.Refusal, bool) {
	who, refusal := d.identify(c, h)
	if refusal.Reason != 0 {
		d.s.Refused("connect")
		return refusal, false
	}
	c.SetTag(who)
	if who.id == "" {
		return session.Refusal{}, true
	}
	d.mu.Lock()
	before := d.known[who.key()]
	d.known[who.key()] = c
	d.mu.Unlock()
	if before != nil { // MQTT 3.1.1, 3.1.4-2: the connection that was there before gives way
		before.End(packet.SessionTakenOver, "another connection of the same client id has come", "")
	}
	return session.Refusal{}, true
}

// key tells connections apart: no client can end another's by its id.
func (c *client) key() string { return c.name + "\x00" + c.id }

func (d *desk) identify(c *session.Conn, h *session.Hello) (*client, session.Refusal) {
	who := &client{id: h.ClientID}
	if d.cfg.TLS.ClientCA != "" {
		conn, ok := c.NetConn().(*tls.Conn)
		if !ok || len(conn.ConnectionState().PeerCertificates) == 0 {
			return nil, session.Refusal{Reason: packet.NotAuthorized, Text: "a client certificate is asked for"}
		}
		if who.name = nameOf(conn.ConnectionState().PeerCertificates[0]); who.name == "" {
			return nil, session.Refusal{Reason: packet.NotAuthorized, Text: "the client certificate names no device: want one SPIFFE id, or a common name of a-z 0-9 . _ -"}
		}
	}
	if d.passwords != nil {
		ok, trouble := d.passwords.knows(h.User, h.Password)
		if trouble != nil {
			d.s.Log.Error("the password file cannot be read; what was read before stays in force", "error", trouble)
		}
		if !ok || who.name != "" && who.name != h.User {
			return nil, session.Refusal{Reason: packet.BadUserOrPassword, Text: "the user and the password are not known here"}
		}
		who.name = h.User
	}
	own := who.name
	if !d.cfg.asks() {
		own = who.id
	}
	if event.Name(own) {
		who.device = identity.Device(own)
	}
	return who, session.Refusal{}
}

// Closed forgets the connection.
func (d *desk) Closed(c *session.Conn, _ session.Ended) {
	who, ok := c.Tag().(*client)
	if !ok || who.id == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known[who.key()] == c {
		delete(d.known, who.key())
	}
}

// Publish passes on what the client may say.
func (d *desk) Publish(c *session.Conn, m *session.Message) {
	who := c.Tag().(*client)
	device, stream, ok := parseTopic(string(m.Topic))
	if !ok {
		d.s.Refused("topic")
		m.Done(session.Answer{Kind: session.Refused, Reason: packet.TopicNameInvalid, Text: "publish to telemetry, events, telemetry/{device} or events/{device}"})
		return
	}
	if device == "" {
		device = who.device
	}
	switch {
	case device == "":
		d.s.Refused("device")
		m.Done(session.Answer{Kind: session.Refused, Reason: packet.TopicNameInvalid, Text: "the client id is no device's name: publish to telemetry/{device} or events/{device}"})
		return
	case device != who.device && d.cfg.asks() && !slices.Contains(d.cfg.Speakers, who.name):
		d.s.Refused("speaker")
		m.Done(session.Answer{Kind: session.Refused, Reason: packet.NotAuthorized, Text: "this client may not speak for another device: list it as a speaker"})
		return
	}
	d.to.Take(intake.Message{Device: device, Stream: stream, Type: string(m.ContentType), Body: m.Payload}, func(v intake.Verdict) { m.Done(answer(v)) })
}

// answer says in MQTT's words what became of a message.
func answer(v intake.Verdict) session.Answer {
	a := session.Answer{Text: v.Text}
	switch v.Outcome {
	case intake.Stored:
		a.Kind = session.Stored
	case intake.Malformed:
		a.Kind, a.Reason = session.Refused, packet.PayloadFormatInvalid
	case intake.NotAllowed:
		a.Kind, a.Reason = session.Refused, packet.NotAuthorized
	case intake.TooMuch, intake.DiskFull:
		a.Kind = session.Slow
	case intake.Closing:
		a.Kind, a.Reason = session.Unsure, packet.ServerShuttingDown
	default:
		a.Kind, a.Reason = session.Refused, packet.ImplementationSpecific
	}
	return a
}
