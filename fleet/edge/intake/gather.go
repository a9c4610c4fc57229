package intake

import (
	"encoding/binary"
	"fmt"
	"math"

	"muster.dev/fleet/edge/rule"
	"muster.dev/proto/batch"
)

// Bounds of a message that is put together. They lie below those of a batch.
const (
	gatherValues  = 2_000
	gatherSteps   = 500
	gatherMetrics = 128
	gatherText    = 64 << 10
)

// bytesOfReading is about what one takes while it is gathered, with its places in the maps.
const bytesOfReading = 256

// exactly is how large a scaled integer may be that any scale up to batch.MaxScale still holds.
const exactly = math.MaxInt64 / 1_000_000_000

// gathering is the readings of one device that become one message. What joins it must come out of it as it went in:
// a column has one kind and one scale.
type gathering struct {
	firmware string
	readings []rule.Reading
	kinds    map[string]kind
	taken    map[place]bool
	times    map[int64]bool
	text     int
	done     []func(Verdict)
	bytes    int64 // that it takes while it is gathered
}

type kind struct {
	kind  batch.Kind
	scale uint8
	large bool // has an integer that does not bear another scale
}

type place struct {
	at     int64
	metric string
}

func newGathering(firmware string) *gathering {
	return &gathering{firmware: firmware, kinds: map[string]kind{}, taken: map[place]bool{}, times: map[int64]bool{}}
}

// fits says whether all of the readings can join without changing any, or what is there.
func (g *gathering) fits(firmware string, readings []rule.Reading) bool {
	if len(g.readings) == 0 {
		return true // alone it is as its device sent it
	}
	if firmware != g.firmware || len(g.readings)+len(readings) > gatherValues || len(g.times)+len(readings) > gatherSteps && g.newTimes(readings) > gatherSteps {
		return false
	}
	metrics, text := len(g.kinds), g.text
	for i := range readings {
		r := &readings[i]
		if g.taken[place{r.At, r.Metric}] {
			return false
		}
		text += len(r.Text)
		k, known := g.kinds[r.Metric]
		if !known {
			metrics++
			continue
		}
		if k.kind != r.Kind || k.scale != r.Scale && (k.large || large(r)) {
			return false
		}
	}
	return metrics <= gatherMetrics && text <= gatherText
}

func (g *gathering) newTimes(readings []rule.Reading) int {
	n, before := len(g.times), int64(math.MinInt64)
	for i := range readings {
		if at := readings[i].At; at != before && !g.times[at] {
			n++
			before = at
		}
	}
	return n
}

func large(r *rule.Reading) bool {
	return r.Kind == batch.Int && (r.Int > exactly || r.Int < -exactly)
}

func (g *gathering) add(readings []rule.Reading, done func(Verdict), bytes int64) {
	for i := range readings {
		r := &readings[i]
		k, known := g.kinds[r.Metric]
		if !known {
			k = kind{kind: r.Kind, scale: r.Scale}
		}
		k.scale, k.large = max(k.scale, r.Scale), k.large || large(r)
		g.kinds[r.Metric] = k
		g.taken[place{r.At, r.Metric}] = true
		g.times[r.At] = true
		g.text += len(r.Text)
	}
	g.readings = append(g.readings, readings...)
	g.done = append(g.done, done)
	g.bytes += bytes
}

// encode writes the message under its key.
func (g *gathering) encode(boot uint32, seq uint64) ([]byte, error) {
	b := batch.NewBuilder()
	b.SetKey(boot, seq)
	if g.firmware != "" {
		b.SetFirmware(g.firmware)
	}
	for i := range g.readings {
		r := &g.readings[i]
		switch r.Kind {
		case batch.Int:
			b.SetScaled(r.At, r.Metric, r.Int, r.Scale)
		case batch.Float:
			b.SetFloat(r.At, r.Metric, r.Float)
		case batch.Bool:
			b.SetBool(r.At, r.Metric, r.Int != 0)
		case batch.Text:
			b.SetText(r.At, r.Metric, r.Text)
		}
	}
	return b.AppendTo(nil)
}

// addKey writes a key into a compact batch that has none, and leaves all else as it is (FORMAT.md section 2: an array whose
// first elements are the version, boot and seq).
func addKey(compact []byte, boot uint32, seq uint64) ([]byte, error) {
	at := 1 // behind the array's head
	if len(compact) > 0 {
		switch compact[0] {
		case 0xdc:
			at = 3
		case 0xdd:
			at = 5
		}
	}
	if len(compact) > at {
		switch compact[at] { // the version, an int of any width
		case 0xcc, 0xd0:
			at++
		case 0xcd, 0xd1:
			at += 2
		case 0xce, 0xd2:
			at += 4
		case 0xcf, 0xd3:
			at += 8
		}
	}
	at++
	if len(compact) < at+2 || compact[at] != 0xc0 || compact[at+1] != 0xc0 {
		return nil, fmt.Errorf("a compact batch has no place for a key at byte %d", at)
	}
	out := make([]byte, 0, len(compact)+14)
	out = append(out, compact[:at]...)
	out = binary.BigEndian.AppendUint32(append(out, 0xce), boot)
	out = binary.BigEndian.AppendUint64(append(out, 0xcf), seq)
	return append(out, compact[at+2:]...), nil
}
