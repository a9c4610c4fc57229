package gateway

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/identity"
	"muster.dev/services/ingest/gateway/clones"
	"muster.dev/services/ingest/sign"
)

// reorder is how far a seq may lie below the highest of its boot without being a sign: that much a device may have under
// way at once, or send again late. A clone so close meets seqs that are used, and a conflict is a sign of its own.
const reorder = 64

// Outcomes of signs.
const (
	signWritten  = "written"
	signWithheld = "withheld" // one of its device and kind was written less than a minute ago
	signFailed   = "failed"
)

// tell writes down that the call's message shows its device's identity to be two. It does not wait, and nothing of the
// message depends on it. other is where the device was before, back how far the seq lies below the highest.
func (g *Gateway) tell(c *call, kind sign.Kind, other *clones.Place, back uint64) {
	s := sign.Sign{Kind: kind, High: c.seq + back}
	if other != nil {
		s.OtherAddress, s.OtherCertificate = other.Address.String(), other.Serial
	}
	g.write(c, s)
}

// tellOfAnother writes down that the call's message says that it is another device's.
func (g *Gateway) tellOfAnother(c *call) {
	s := sign.Sign{Kind: sign.OtherName}
	if id, err := identity.ParseDevice(c.named); err == nil { // else it is the device's own words, which are not repeated
		s.Named = string(id)
	}
	g.write(c, s)
}

// write fills in what is known of the call, and writes the sign unless one like it was written a moment ago.
func (g *Gateway) write(c *call, s sign.Sign) {
	kind := s.Kind
	more, now := c.seat.Tell(kind, c.at)
	if !now {
		g.metrics.signs(kind, signWithheld)
		return
	}
	place := c.seat.Place()
	s.Time, s.Gateway, s.Stream, s.More = c.at.UnixMilli(), g.cfg.name(), c.stream.String(), more
	s.Address, s.Certificate = place.Address.String(), place.Serial
	s.Keyed, s.Boot, s.Seq = c.keyed, c.boot, c.seq
	record, err := s.Record(string(c.device.ID), c.stampOf())
	if err != nil {
		g.metrics.signs(kind, signFailed)
		g.log.Error("a sign of a clone is not written", "device", string(c.device.ID), "sign", string(kind), "error", err)
		return
	}
	g.log.Warn("an identity is not used as one device's", "device", string(c.device.ID), "sign", string(kind), "address", s.Address, "other_address", s.OtherAddress)
	g.producer.TryPublish(record, func(_ *kgo.Record, err error) {
		if err != nil {
			g.metrics.signs(kind, signFailed)
			return
		}
		g.metrics.signs(kind, signWritten)
	})
}
