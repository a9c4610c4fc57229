package linear

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
	"muster.dev/proto/record"
	"muster.dev/services/registry/audit"
)

// chronicle is what the log says, event by event, beside what clients asked and heard.
type chronicle struct {
	t     *testing.T
	fleet *fleet
	state *roster.State
	asks  map[string]operation // by the serial that they brought

	issued  map[string]uint64 // number of the event by certificate's serial
	ended   map[string]uint64 // likewise, of its revocation
	revoked map[string]uint64 // number of the event by device
	mayEnd  map[string]bool   // serials and devices whose revocation was asked for and not refused
	keys    map[[32]byte]bool // revoked
	given   map[string][]paper
	looks   map[uint64][]operation // by the last event that they show
	dead    []paper

	snapshots int
	hands     []int // of the processes that issued certificates, without repetitions
}

// paper is a certificate that the log says was issued.
type paper struct {
	device identity.Device
	serial string
	spki   [32]byte
}

func (s *site) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// settled holds the whole log against all that was asked and heard, and says how often one process wrote after another.
func (s *site) settled(f *fleet) (handed int) {
	t := s.t
	t.Helper()
	verifier := audit.NewVerifier()
	err := audit.ReadLog(s.soon(), s.log, audit.LogReader{Hole: verifier.Hole, Record: func(rec audit.Record) error {
		_, _, err := verifier.Add(rec)
		return err
	}})
	if err != nil {
		t.Fatalf("audit of the log: %v", err)
	}
	if report := verifier.Report("the log"); !report.OK() {
		t.Errorf("the chain does not hold: %v", report)
	}

	c := &chronicle{t: t, fleet: f, state: roster.NewState(), asks: map[string]operation{}, issued: map[string]uint64{}, ended: map[string]uint64{},
		revoked: map[string]uint64{}, mayEnd: map[string]bool{}, keys: map[[32]byte]bool{}, given: map[string][]paper{}, looks: map[uint64][]operation{}}
	for _, o := range f.history {
		switch {
		case o.ask.Serial != "":
			c.asks[o.ask.Serial] = o
		case o.ask.Op == look && o.heard.Said == done:
			c.looks[o.last] = append(c.looks[o.last], o)
		case o.heard.Said != refused && o.ask.Op == revokeDevice:
			c.mayEnd[o.ask.Device] = true
		case o.heard.Said != refused && o.ask.Op == revokeCertificate:
			c.mayEnd[o.ask.With] = true
		}
	}
	c.compare()
	err = eventlog.Tail(s.soon(), s.log, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		change, err := c.state.ApplyRecord(rec)
		if err != nil {
			t.Errorf("offset %d is ignored by readers: %v", rec.Offset, err)
			return nil
		}
		c.follow(change)
		c.compare()
		return nil
	})
	if err != nil {
		t.Fatalf("read the log: %v", err)
	}
	for _, p := range c.dead {
		c.stillDead(p)
	}
	for last := range c.looks {
		if last > c.state.Last() {
			t.Errorf("a look-up showed event %d, the log has %d", last, c.state.Last())
		}
	}
	c.answers()
	c.order()
	t.Logf("the log has %d events: %d devices, %d certificates, %d and %d revoked, %d snapshots; it was handed over %d times",
		c.state.Last(), c.state.Counts().Devices, len(c.issued), len(c.revoked), len(c.ended), c.snapshots, len(c.hands)-1)
	return len(c.hands) - 1
}

// follow takes the next event: it must be what somebody asked for and was not refused.
func (c *chronicle) follow(change roster.Change) {
	n, device := c.state.Last(), string(change.Device.ID)
	switch b := change.Body.(type) {
	case event.CertificateIssued:
		spki := [32]byte(b.SPKI)
		if before := c.issued[b.Serial]; before != 0 {
			c.t.Errorf("event %d issues serial %s, as event %d did", n, b.Serial, before)
		}
		c.issued[b.Serial] = n
		if c.keys[spki] {
			c.t.Errorf("event %d certifies a key of %s that was revoked", n, device)
		}
		o, asked := c.asks[b.Serial]
		boiler := c.fleet.all[device]
		switch {
		case !asked || boiler == nil || o.ask.Device != device || boiler.hash[[32]byte(b.CSR)] != o.ask.CSR || boiler.spki[keyOf(o.ask.CSR)] != spki:
			c.t.Errorf("event %d issues %s to %s, which nobody asked for", n, b.Serial, device)
		case o.heard.Said == refused || o.heard.Said == done && o.heard.Serial != b.Serial:
			c.t.Errorf("event %d issues %s to %s, who was answered %v", n, b.Serial, device, o.heard)
		}
		c.given[device] = append(c.given[device], paper{change.Device.ID, b.Serial, spki})
		if len(c.hands) == 0 || c.hands[len(c.hands)-1] != o.process {
			c.hands = append(c.hands, o.process)
		}
	case event.CertificateRevoked:
		if !c.mayEnd[b.Serial] {
			c.t.Errorf("event %d revokes %s, which nobody asked for", n, b.Serial)
		}
		if _, twice := c.ended[b.Serial]; !twice {
			c.ended[b.Serial] = n
		}
		of := func(p paper) bool { return p.serial == b.Serial }
		if i := slices.IndexFunc(c.given[device], of); i >= 0 {
			key := c.given[device][i].spki
			c.keys[key] = true
			for _, p := range c.given[device] {
				if p.spki != key {
					continue
				}
				c.dead = append(c.dead, p)
				if c.ended[p.serial] == 0 {
					c.ended[p.serial] = n
				}
			}
		}
	case event.SnapshotTaken:
		c.snapshots++
	case event.DeviceRevoked:
		if !c.mayEnd[device] {
			c.t.Errorf("event %d revokes %s, which nobody asked for", n, device)
		}
		if _, twice := c.revoked[device]; !twice {
			c.revoked[device] = n
		}
		for _, p := range c.given[device] {
			c.keys[p.spki] = true
			c.dead = append(c.dead, p)
		}
	}
	// An event about one device changes no other's; all are looked at now and then, and at the end.
	for _, p := range c.dead {
		if string(p.device) == device || n%128 == 0 {
			c.stillDead(p)
		}
	}
}

func (c *chronicle) stillDead(p paper) {
	if _, standing := c.state.Standing(p.device, p.serial, p.spki); standing == roster.Good {
		c.t.Errorf("after event %d certificate %s of %s is good, and was revoked before", c.state.Last(), p.serial, p.device)
	}
}

// compare holds the look-ups that showed the log as far as it is folded now against the fold.
func (c *chronicle) compare() {
	for _, o := range c.looks[c.state.Last()] {
		var want seen
		if d, ok := c.state.Device(identity.Device(o.ask.Device)); ok {
			want = seen{Known: true, Revoked: d.Revoked, No: d.No, N: len(d.Certificates)}
			for i, has := range d.Certificates {
				want.Certificates[i] = certificate{CSR: c.fleet.all[o.ask.Device].hash[has.CSR], Serial: has.Serial, Revoked: has.Revoked}
			}
		}
		if want != o.heard.Seen {
			c.t.Errorf("a look-up at process %d showed %s as %v, and says that it shows event %d, where it is %v", o.process, o.ask.Device, o.heard.Seen, o.last, want)
		}
	}
}

// answers holds that whatever was acknowledged stands in the log.
func (c *chronicle) answers() {
	papers := map[string]string{}
	for _, o := range c.fleet.history {
		if o.heard.Said != done || o.ask.Op == look {
			continue
		}
		if c.number(o) == 0 {
			c.t.Errorf("%v of %s was answered %v and does not stand in the log", o.ask, o.ask.Device, o.heard)
			continue
		}
		if o.heard.Serial == "" {
			continue
		}
		if i := slices.IndexFunc(c.given[o.ask.Device], func(p paper) bool { return p.serial == o.heard.Serial }); i < 0 {
			c.t.Errorf("%s was given %s, which the log says is another's", o.ask.Device, o.heard.Serial)
		}
		if der, again := papers[o.heard.Serial]; again && der != o.der {
			c.t.Errorf("serial %s was signed twice, to different bytes", o.heard.Serial)
		}
		papers[o.heard.Serial] = o.der
	}
}

// number is that of the event on which an answer stands; 0 is none.
func (c *chronicle) number(o operation) uint64 {
	switch o.ask.Op {
	case revokeDevice:
		return c.revoked[o.ask.Device]
	case revokeCertificate:
		return c.ended[o.ask.With]
	}
	return c.issued[o.heard.Serial]
}

// order holds that no process goes back: a look-up shows all that the same process has shown or acknowledged before it
// was asked.
func (c *chronicle) order() {
	type showing struct {
		operation
		n uint64
	}
	byProcess := map[int][]showing{}
	for _, o := range c.fleet.history {
		if o.heard.Said != done {
			continue
		}
		n := o.last
		if o.ask.Op != look {
			n = c.number(o)
		}
		byProcess[o.process] = append(byProcess[o.process], showing{o, n})
	}
	for number, all := range byProcess {
		ended := slices.SortedFunc(slices.Values(all), func(a, b showing) int { return cmp.Compare(a.ended, b.ended) })
		slices.SortFunc(all, func(a, b showing) int { return cmp.Compare(a.asked, b.asked) })
		var shown uint64
		for _, o := range all {
			for len(ended) > 0 && ended[0].ended < o.asked {
				shown, ended = max(shown, ended[0].n), ended[1:]
			}
			if o.ask.Op == look && o.n < shown {
				c.t.Errorf("process %d showed event %d and then, asked later, only %d", number, shown, o.n)
			}
		}
	}
}
