package event

import (
	"math"
	"strconv"
	"sync"

	"muster.dev/proto/batch"
	"muster.dev/proto/internal/wire"
)

var jsonReaders = sync.Pool{New: func() any { return new(wire.JSON) }}

// ParseDeviceJSON reads device events in the easy form as JSON. A refusal is a *batch.Error, and refuses the whole
// message.
func ParseDeviceJSON(p []byte) (Message, error) {
	r := jsonReaders.Get().(*wire.JSON)
	defer func() {
		r.Release()
		jsonReaders.Put(r)
	}()
	r.Reset(p, batch.DefaultLimits())
	return parse(r)
}

// ParseDeviceMsgPack is the same for MsgPack. It holds p to the rules of batch.Scan.
func ParseDeviceMsgPack(p []byte) (Message, error) {
	return parse(wire.NewMsgPack(p, batch.DefaultLimits()))
}

// DecodeMessage reads a record's value: what Message.AppendTo wrote, or what a later version writes that only adds.
func DecodeMessage(value []byte) (Message, error) { return ParseDeviceMsgPack(value) }

type parser struct {
	src    wire.Tokens
	m      Message
	hasSeq bool
}

func parse(src wire.Tokens) (Message, error) {
	p := parser{src: src}
	err := p.message()
	if err == nil {
		err = p.m.validate()
	}
	if err != nil {
		return Message{}, err
	}
	return p.m, nil
}

func (p *parser) refuse(field, detail string, limit int64) *batch.Error {
	err := refuse(batch.Unprocessable, field, detail, limit)
	err.Offset = p.src.Offset()
	return err
}

func (p *parser) message() *batch.Error {
	t, err := p.src.Next()
	if err != nil {
		return err
	}
	if t.Kind != wire.Map {
		err := p.refuse("body", "is "+t.Kind.String()+": send a map with the key events", 0)
		err.Code = batch.Malformed
		return err
	}
	for {
		if t, err = p.src.Next(); err != nil {
			return err
		}
		if t.Kind == wire.End {
			break
		}
		if err = p.field(string(t.Bytes)); err != nil {
			return err
		}
	}
	if _, err = p.src.Next(); err != nil { // what follows the document
		return err
	}
	if p.m.Keyed != p.hasSeq {
		return p.refuse("seq", "boot and seq go together: send both, or neither", 0)
	}
	return nil
}

func (p *parser) field(key string) *batch.Error {
	t, err := p.src.Next()
	if err != nil {
		return err
	}
	var n uint64
	var has bool
	switch key {
	case "v":
		if n, has, err = p.integer("v", t, math.MaxUint32); err == nil && has && n != Version {
			err = p.refuse("v", strconv.FormatUint(n, 10)+" is not known here: send version 1, or leave it out", Version)
			err.Code = batch.UnknownVersion
		}
		return err
	case "boot":
		n, p.m.Keyed, err = p.integer(key, t, math.MaxUint32)
		p.m.Boot = uint32(n)
		return err
	case "seq":
		p.m.Seq, p.hasSeq, err = p.integer(key, t, batch.MaxSeq)
		return err
	case "fw":
		if t.Kind == wire.Null {
			return nil
		}
		if t.Kind != wire.Text {
			return p.refuse(key, "is "+t.Kind.String()+": send a text", 0)
		}
		p.m.Firmware = string(t.Bytes)
		return nil
	case "events":
		return p.events(t)
	}
	return wire.Skip(p.src, t)
}

func (p *parser) integer(field string, t wire.Token, limit uint64) (uint64, bool, *batch.Error) {
	if t.Kind == wire.Null {
		return 0, false, nil
	}
	if t.Kind != wire.Int || t.Int < 0 || uint64(t.Int) > limit {
		return 0, false, p.refuse(field, "must be an integer from 0 to "+strconv.FormatUint(limit, 10), int64(limit))
	}
	return uint64(t.Int), true, nil
}

func (p *parser) events(t wire.Token) *batch.Error {
	if t.Kind != wire.List {
		return p.refuse("events", "is "+t.Kind.String()+": send a list", 0)
	}
	for i := 0; ; i++ {
		t, err := p.src.Next()
		if err != nil {
			return err
		}
		switch {
		case t.Kind == wire.End:
			return nil
		case t.Kind != wire.Map:
			return p.refuse(at(i, ""), "is "+t.Kind.String()+": send a map with ts and type", 0)
		case i == MaxEvents:
			err := p.refuse("events", "are more than allowed: send several messages", MaxEvents)
			err.Code = batch.TooLarge
			return err
		}
		if err = p.event(i); err != nil {
			return err
		}
	}
}

func (p *parser) event(i int) *batch.Error {
	var d Device
	hasTS := false
	for {
		t, err := p.src.Next()
		if err != nil {
			return err
		}
		if t.Kind == wire.End {
			break
		}
		name := string(t.Bytes)
		if t, err = p.src.Next(); err != nil {
			return err
		}
		switch name {
		case "ts":
			whole := (t.Kind == wire.Decimal || t.Kind == wire.Float) && t.Float == math.Trunc(t.Float) && math.Abs(t.Float) <= batch.MaxSeq
			switch {
			case t.Kind == wire.Int:
				d.TS = t.Int
			case whole:
				d.TS = int64(t.Float)
			default:
				return p.refuse(at(i, ".ts"), "is not a time: send an integer of Unix milliseconds", 0)
			}
			hasTS = true
		case "type":
			if t.Kind != wire.Text {
				return p.refuse(at(i, ".type"), "is "+t.Kind.String()+": send a text", 0)
			}
			d.Type = string(t.Bytes)
		default:
			if err = p.value(i, &d, name, t); err != nil {
				return err
			}
		}
	}
	if !hasTS {
		return p.refuse(at(i, ".ts"), "is missing: send the time in Unix milliseconds", 0)
	}
	p.m.Events = append(p.m.Events, d)
	return nil
}

func (p *parser) value(i int, d *Device, name string, t wire.Token) *batch.Error {
	var v any
	switch t.Kind {
	case wire.Null:
		return nil
	case wire.Int:
		v = t.Int
	case wire.Decimal, wire.Float:
		v = t.Float
	case wire.Bool:
		v = t.Int != 0
	case wire.Text:
		v = string(t.Bytes)
	case wire.Uint, wire.Huge:
		return p.refuse(at(i, "."+name[:min(len(name), 64)]), "is "+t.Kind.String()+": send a number that int64 or a double holds", 0)
	default:
		return p.refuse(at(i, "."+name[:min(len(name), 64)]), "is "+t.Kind.String()+": send a number, true, false, a text or null", 0)
	}
	if d.Fields == nil {
		d.Fields = make(map[string]any, 4)
	}
	if len(d.Fields) == MaxFields {
		err := p.refuse(at(i, ""), "has more fields than allowed: send fewer", MaxFields)
		err.Code = batch.TooLarge
		return err
	}
	d.Fields[name] = v
	return nil
}
