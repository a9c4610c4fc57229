package event

import (
	"maps"
	"slices"
	"strconv"

	"muster.dev/proto/batch"
	"muster.dev/proto/internal/wire"
	"muster.dev/proto/record"
)

// MaxReasons is the number of reasons that a watermark may count.
const MaxReasons = 64

// Watermark is what a gateway writes to each partition every few seconds: it was alive at Time, and this is what it
// did since it started. A partition without messages but with watermarks is silent because its devices are; one
// without both is silent because we are.
type Watermark struct {
	Gateway  string // its name, unique among the gateways that run
	Time     int64  // Unix ms
	Accepted uint64
	Refused  map[string]uint64 // by reason
	Region   string            // whose devices it takes; empty: any, or of a release that did not say
}

// Encode gives a control record's value and headers. The record has no key.
func (w Watermark) Encode() (value []byte, headers []Header, err error) {
	if err := w.validate(); err != nil {
		return nil, nil, err
	}
	keys := 5
	if w.Region != "" {
		keys++
	}
	p := wire.AppendMapHead(nil, keys)
	p = wire.AppendInt(wire.AppendText(p, "v"), Version)
	p = wire.AppendText(wire.AppendText(p, "gateway"), w.Gateway)
	p = wire.AppendInt(wire.AppendText(p, "time"), w.Time)
	p = wire.AppendUint(wire.AppendText(p, "accepted"), w.Accepted)
	p = wire.AppendMapHead(wire.AppendText(p, "refused"), len(w.Refused))
	for _, why := range slices.Sorted(maps.Keys(w.Refused)) {
		p = wire.AppendUint(wire.AppendText(p, why), w.Refused[why])
	}
	if w.Region != "" {
		p = wire.AppendText(wire.AppendText(p, "region"), w.Region)
	}
	id := w.Gateway + "/" + strconv.FormatInt(w.Time, 10)
	return p, cloudEvent(record.TypeWatermark, "/muster/gateway/"+w.Gateway, id, w.Time), nil
}

func (w *Watermark) validate() *batch.Error {
	switch {
	case w.Gateway == "":
		return bad("gateway", "is missing")
	case w.Time < 0 || w.Time > batch.MaxTime:
		return refuse(batch.Unprocessable, "time", "must be Unix milliseconds", batch.MaxTime)
	case len(w.Refused) > MaxReasons:
		return refuse(batch.TooLarge, "refused", "has too many reasons", MaxReasons)
	}
	for why := range w.Refused {
		if err := checkText("refused", why); err != nil {
			return err
		}
	}
	if err := checkText("region", w.Region); err != nil {
		return err
	}
	return checkText("gateway", w.Gateway)
}

// DecodeWatermark reads a control record's value. A refusal is a *batch.Error.
func DecodeWatermark(value []byte) (Watermark, error) {
	var in struct {
		V        uint64            `msgpack:"v"`
		Gateway  string            `msgpack:"gateway"`
		Time     int64             `msgpack:"time"`
		Accepted uint64            `msgpack:"accepted"`
		Refused  map[string]uint64 `msgpack:"refused"`
		Region   string            `msgpack:"region"`
	}
	if err := decode(value, &in); err != nil {
		return Watermark{}, err
	}
	if in.V != Version {
		return Watermark{}, refuse(batch.UnknownVersion, "v", strconv.FormatUint(in.V, 10)+" is not known here", Version)
	}
	w := Watermark{Gateway: in.Gateway, Time: in.Time, Accepted: in.Accepted, Refused: in.Refused, Region: in.Region}
	if err := w.validate(); err != nil {
		return Watermark{}, err
	}
	return w, nil
}
