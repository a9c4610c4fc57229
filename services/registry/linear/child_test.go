package linear

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/identity"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/decide"
	"muster.dev/services/registry/writer"
)

// order is what a registry in a process of its own is told.
type order struct {
	Name    string
	Brokers []string
	CA      string
	Socket  string
	At      point
	Signal  syscall.Signal
	// The writer's; 0 is as it ships.
	Beat, Stale   time.Duration
	SnapshotEvery uint64
}

// request and reply are lines of JSON on the registry's socket, one after the other on a connection.
type request struct {
	Op     op
	Device string
	CSR    []byte    // DER
	Serial string    // that the draft is to have
	With   string    // serial of the certificate that is presented or revoked; a password's id
	Key    [32]byte  // of the certificate that is presented; a password's hash
	Until  time.Time // when a password ends
	Synced bool
}

type reply struct {
	Done, Refused bool // neither: it may have been done or not
	Elsewhere     bool // another process is to be asked, and nothing was done
	Detail        string
	No            uint32
	Serial        string
	DER           []byte
	Known         bool
	Revoked       bool
	Certificates  []issued
	Last          uint64
}

type issued struct {
	Serial  string
	CSR     [32]byte
	Revoked bool
}

// registry is the writer's room with an authority behind it, and the thinnest door before it.
type registry struct {
	writer    *writer.Writer
	authority *authority.Authority
	trap      *trap
}

// playRegistry serves until it is killed, or told to stop.
func playRegistry(text string) int {
	fail := func(err error) int { fmt.Println("failed:", err); return 1 }
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fail(err)
	}
	ca, err := authority.Open(o.CA)
	if err != nil {
		return fail(err)
	}
	r := &registry{authority: ca, trap: &trap{at: o.At, signal: o.Signal}}
	cfg := eventlog.Config{Brokers: o.Brokers, ClientID: o.Name, Dialer: r.trap.dial}
	r.writer = writer.New(writer.Settings{Log: cfg, Name: o.Name, Beat: o.Beat, Stale: o.Stale, Metrics: prometheus.NewRegistry(),
		SnapshotEvery: o.SnapshotEvery, SnapshotAtStop: o.SnapshotEvery,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	door, err := net.Listen("unix", o.Socket)
	if err != nil {
		return fail(err)
	}
	fmt.Println("up")
	go func() {
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := r.writer.Run(ctx); err != nil {
		return fail(err)
	}
	return 0
}

func (r *registry) serve(conn net.Conn) {
	defer conn.Close()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var q request
		if in.Decode(&q) != nil {
			return
		}
		answer := r.answer(q)
		r.trap.pass(0, replying)
		if out.Encode(answer) != nil {
			return
		}
	}
}

func (r *registry) answer(q request) reply {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := identity.Device(q.Device)
	if q.Op == look {
		return r.look(ctx, id, q.Synced)
	}
	var command decide.Command
	var csr *authority.Request
	switch q.Op {
	case revokeDevice:
		command = decide.RevokeDevice{Device: id}
	case revokeCertificate:
		command = decide.RevokeCertificate{Serial: q.With}
	case defineLine:
		command = decide.DefineLine{Label: "boilers", Cohort: "c"}
	case makePassword:
		command = decide.MakePassword{ID: q.With, Hash: q.Key, Label: "boilers", Prefix: "boiler-", NotAfter: q.Until, Uses: 1}
	case enrol, renew, enrolByPassword:
		var err error
		if csr, err = authority.ParseRequestDER(q.CSR); err != nil {
			return reply{Refused: true, Detail: "fault: " + err.Error()}
		}
		draft := decide.Certificate(r.authority.Draft(csr))
		draft.Serial = q.Serial
		switch q.Op {
		case enrol:
			command = decide.Enrol{Device: id, Cohort: "c", Certificate: draft}
		case renew:
			command = decide.Reenrol{Device: id, Serial: q.With, SPKI: q.Key, Certificate: draft}
		case enrolByPassword:
			command = decide.EnrolByPassword{User: q.Device, Secret: q.Key, Certificate: draft}
		}
	}
	out, err := r.writer.Do(ctx, "trial", "a trial", command)
	if err != nil {
		return failed(err)
	}
	answer := reply{Done: true, No: out.No, Serial: out.Certificate.Serial}
	if csr != nil {
		cert, err := r.authority.Sign(id, csr, out.Certificate)
		if err != nil {
			return reply{Refused: true, Detail: "fault: " + err.Error()}
		}
		answer.DER = cert.DER
	}
	return answer
}

func failed(err error) reply {
	var refusal *decide.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Kind != decide.Invalid:
		return reply{Refused: true, Detail: refusal.Error()}
	case errors.Is(err, writer.ErrStandby):
		return reply{Elsewhere: true}
	case errors.Is(err, writer.ErrUnavailable):
		return reply{Detail: err.Error()}
	}
	return reply{Refused: true, Detail: "fault: " + err.Error()}
}

func (r *registry) look(ctx context.Context, id identity.Device, synced bool) (answer reply) {
	if synced {
		if err := r.writer.Sync(ctx); err != nil {
			return failed(err)
		}
	}
	err := r.writer.View(ctx, func(s *decide.State) {
		answer.Done, answer.Last = true, s.Last()
		d, ok := s.Device(id)
		if !ok {
			return
		}
		answer.Known, answer.Revoked, answer.No = true, d.Revoked, d.No
		for _, c := range d.Certificates {
			answer.Certificates = append(answer.Certificates, issued{c.Serial, c.CSR, c.Revoked})
		}
	})
	if err != nil {
		return failed(err)
	}
	return answer
}

// patience is how long a registry tries to do what it was asked before it leaves it open.
const patience = 3 * time.Second
