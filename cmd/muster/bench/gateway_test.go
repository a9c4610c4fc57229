//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// measured is what one process did in one measurement.
type measured struct {
	answers
	cpu  float64 // seconds for a million samples
	rate float64 // messages a second
}

// target is something that devices send to, or that sends like them.
type target struct {
	process *process // whose CPU counts
	sender  *process // who is told to drive; the same process for a bare producer
}

// drive has the target's sender send, and counts the target's CPU meanwhile.
func (t target) drive(b testing.TB, d drive) measured {
	b.Helper()
	before, began := t.process.cpu(), time.Now()
	t.sender.tell(d)
	var m measured
	if err := json.Unmarshal([]byte(t.sender.line()), &m.answers); err != nil {
		b.Fatal(err)
	}
	took, used := time.Since(began).Seconds(), t.process.cpu()-before
	if m.Failed > 0 || m.Sent == 0 {
		b.Fatalf("%s: %d sent, %d failed: %s", t.process.name, m.Sent, m.Failed, m.Said)
	}
	m.cpu, m.rate = used/float64(m.Sent*samplesPerMessage)*1e6, float64(m.Sent)/took
	return m
}

// devices connects them to an address, has each send a little, and gives the process that plays them.
func (s *site) devices(addr string, connections int) *process {
	s.b.Helper()
	p := start(s.b, "devices", order{Dir: s.ca.Dir, Addr: addr, Connections: connections})
	if got := p.line(); got != "connected" {
		s.b.Fatalf("the devices say %q", got)
	}
	return p
}

// measureGateway has devices send to a bare HTTPS handler, a bare producer and the gateway in turn: as fast as each
// takes it, and then at half of what the gateway took.
func measureGateway(b testing.TB, r *report, sc scale) {
	s := newSite(b)
	defer s.end()
	s.enrol(sc.connections, 0)
	gateway, addr := s.gateway()
	defer gateway.end()
	https := start(b, "bare", order{Dir: s.ca.Dir})
	defer https.end()
	both := start(b, "bare", order{Dir: s.ca.Dir, Addr: s.addr, Records: true})
	defer both.end()
	producer := start(b, "producer", order{Addr: s.addr, Connections: sc.connections})
	defer producer.end()
	httpsAddr, bothAddr := https.line(), both.line()
	producer.line()

	// The gateway goes first in a round: half of its rate is everybody's.
	rate := 0.0
	turn := func(name string) (full, half measured) {
		t := target{producer, producer}
		switch name {
		case "https":
			t = target{https, s.devices(httpsAddr, sc.connections)}
		case "both":
			t = target{both, s.devices(bothAddr, sc.connections)}
		case "gateway":
			t = target{gateway, s.devices(addr, sc.connections)}
		}
		if t.sender != producer {
			defer t.sender.end()
		}
		t.drive(b, drive{For: sc.drive / 4}) // warm
		full = t.drive(b, drive{For: sc.drive})
		if name == "gateway" {
			rate = full.rate / 2
		}
		return full, t.drive(b, drive{For: sc.drive, Rate: rate})
	}
	var full, half = map[string][]measured{}, map[string][]measured{}
	for range sc.rounds {
		for _, name := range []string{"gateway", "https", "both", "produce"} {
			f, h := turn(name)
			full[name], half[name] = append(full[name], f), append(half[name], h)
		}
		b.Log(says("as fast as it goes", full), says("at half of it", half))
	}

	cpu := func(of map[string][]measured, names ...string) []float64 {
		out := make([]float64, sc.rounds)
		for _, name := range names {
			for i, m := range of[name] {
				out[i] += m.cpu
			}
		}
		return out
	}
	ms := func(of []measured, q func(measured) time.Duration) (out []float64) {
		for _, m := range of {
			out = append(out, q(m).Seconds()*1000)
		}
		return out
	}
	p99 := func(m measured) time.Duration { return m.P99 }
	perM := "CPU-s/M"
	r.rounds("gateway at saturation / bare HTTPS + bare produce", perM, cpu(full, "gateway"), cpu(full, "https", "produce")).ratioAtMost(1.3)
	r.rounds("gateway at saturation / bare HTTPS handler that produces", perM, cpu(full, "gateway"), cpu(full, "both"))
	r.rounds("gateway at half load / the floors at the same load", perM, cpu(half, "gateway"), cpu(half, "https", "produce")).ratioAtMost(1.6)
	r.rounds("gateway at half load / HTTPS handler that produces", perM, cpu(half, "gateway"), cpu(half, "both"))
	r.rounds("gateway at half load / itself at saturation", perM, cpu(half, "gateway"), cpu(full, "gateway"))
	r.rounds("gateway p99 at saturation / HTTPS handler that produces", "ms", ms(full["gateway"], p99), ms(full["both"], p99)).atMost(40)
	r.rounds("gateway p99 at half load / HTTPS handler that produces", "ms", ms(half["gateway"], p99), ms(half["both"], p99))
	var rates []float64
	for _, m := range full["gateway"] {
		rates = append(rates, m.rate*samplesPerMessage/1000)
	}
	r.rounds("gateway at saturation, devices and log beside it", "k samples/s", rates, nil)
	f := r.add(figure{Name: "gateway peak resident", Value: gateway.peak(), Unit: "MiB"})
	f.atMost(200)
}

func says(what string, of map[string][]measured) string {
	out := what + ":"
	for _, name := range []string{"https", "produce", "both", "gateway"} {
		m := of[name][len(of[name])-1]
		out += fmt.Sprintf(" %s %.2f CPU-s/M, %.0f k/s, p99 %v;", name, m.cpu, m.rate*samplesPerMessage/1000, m.P99.Round(100*time.Microsecond))
	}
	return out
}
