package batch

import (
	"errors"
	"math"
	"strconv"
	"sync"

	"muster.dev/proto/internal/wire"
)

// ParseJSON reads a message of the easy form as JSON into b, which it resets first. It refuses with an *Error; values
// at fault are carried along for Judge. It keeps nothing of p.
func ParseJSON(p []byte, b *Builder) error {
	r := jsonReaders.Get().(*wire.JSON)
	defer func() {
		r.Release()
		jsonReaders.Put(r)
	}()
	r.Reset(p, DefaultLimits())
	return parseEasy(r, b)
}

// ParseMsgPack reads a message of the easy form as MsgPack into b, which it resets first. It holds p to the rules of
// Scan as it goes, so that no scan need come before it.
func ParseMsgPack(p []byte, b *Builder) error {
	r := readers.Get().(*wire.MsgPack)
	defer func() {
		r.Reset(nil, Limits{})
		readers.Put(r)
	}()
	l := DefaultLimits()
	l.AnyText = true // an invalid text value is a fault of that value
	r.Reset(p, l)
	return parseEasy(r, b)
}

var jsonReaders = sync.Pool{New: func() any { return new(wire.JSON) }}

type easy struct {
	src      wire.Tokens
	b        *Builder
	reading  int
	hasBoot  bool
	hasSeq   bool
	boot     uint32
	seq      uint64
	readings bool
}

func parseEasy(src wire.Tokens, b *Builder) error {
	b.Reset()
	e := easy{src: src, b: b}
	err := e.message()
	if err == nil {
		err = b.seal()
	}
	if err != nil {
		b.fail(err)
		return err
	}
	return nil
}

func (e *easy) refuse(code Code, field, detail string, limit int64) *Error {
	return &Error{Code: code, Field: field, Detail: detail, Limit: limit, Offset: e.src.Offset()}
}

func (e *easy) message() *Error {
	t, err := e.src.Next()
	if err != nil {
		return err
	}
	if t.Kind != wire.Map {
		return e.refuse(Malformed, "body", "is "+t.Kind.String()+": send a map with the key readings", 0)
	}
	for {
		if t, err = e.src.Next(); err != nil {
			return err
		}
		if t.Kind == wire.End {
			break
		}
		if err = e.field(t.Bytes); err != nil {
			return err
		}
	}
	if t, err = e.src.Next(); err != nil { // what follows the document
		return err
	}
	if e.hasBoot != e.hasSeq {
		return e.refuse(Unprocessable, "seq", "boot and seq go together: send both, or neither", 0)
	}
	if e.hasBoot {
		e.b.SetKey(e.boot, e.seq)
	}
	if !e.readings {
		return e.refuse(Unprocessable, "readings", "is missing: send a list of {\"ts\": Unix ms, \"metrics\": {name: value}}", 0)
	}
	return e.b.err
}

func (e *easy) field(key []byte) *Error {
	switch string(key) {
	case "v":
		n, has, err := e.integer("v", math.MaxUint32)
		if err == nil && has && n != Version {
			return e.refuse(UnknownVersion, "v", strconv.FormatUint(n, 10)+" is not known here: send version 1, or leave it out", Version)
		}
		return err
	case "boot":
		n, has, err := e.integer("boot", math.MaxUint32)
		e.boot, e.hasBoot = uint32(n), has
		return err
	case "seq":
		n, has, err := e.integer("seq", MaxSeq)
		e.seq, e.hasSeq = n, has
		return err
	case "fw":
		t, err := e.src.Next()
		switch {
		case err != nil:
			return err
		case t.Kind == wire.Null:
		case t.Kind != wire.Text:
			return e.refuse(Unprocessable, "fw", "is "+t.Kind.String()+": send a text", 0)
		default:
			e.b.fw, e.b.hasFW = append(e.b.fw[:0], t.Bytes[:min(len(t.Bytes), MaxFirmware+1)]...), true
			return checkFirmware(t.Bytes, e.src.Offset())
		}
		return nil
	case "readings":
		return e.list()
	}
	return e.skip()
}

// skip passes over the value of a key that is not known: of a later version, or a note of the device's own.
func (e *easy) skip() *Error {
	t, err := e.src.Next()
	if err != nil {
		return err
	}
	return wire.Skip(e.src, t)
}

func (e *easy) integer(field string, limit uint64) (n uint64, has bool, err *Error) {
	t, err := e.src.Next()
	switch {
	case err != nil || t.Kind == wire.Null:
		return 0, false, err
	case t.Kind != wire.Int && t.Kind != wire.Uint && t.Kind != wire.Huge:
		return 0, false, e.refuse(Unprocessable, field, "is "+t.Kind.String()+": send an integer", 0)
	case t.Kind != wire.Int || t.Int < 0 || uint64(t.Int) > limit:
		return 0, false, e.refuse(Unprocessable, field, "is out of range: send an integer from 0 to "+strconv.FormatUint(limit, 10), int64(limit))
	}
	return uint64(t.Int), true, nil
}

func (e *easy) list() *Error {
	e.readings = true
	t, err := e.src.Next()
	if err != nil {
		return err
	}
	if t.Kind != wire.List {
		return e.refuse(Unprocessable, "readings", "is "+t.Kind.String()+": send a list", 0)
	}
	for ; ; e.reading++ {
		if t, err = e.src.Next(); err != nil {
			return err
		}
		if t.Kind == wire.End {
			return nil
		}
		if t.Kind != wire.Map {
			return e.refuse(Unprocessable, e.path(""), "is "+t.Kind.String()+": send a map with ts and metrics", 0)
		}
		if err = e.readingMap(); err != nil {
			return err
		}
	}
}

func (e *easy) path(rest string) string { return "readings[" + strconv.Itoa(e.reading) + "]" + rest }

// readingMap reads one reading. Its ts may come after its metrics, so these get it at the end.
func (e *easy) readingMap() *Error {
	from := len(e.b.samples)
	var at int64
	hasTS, hasMetrics := false, false
	for {
		t, err := e.src.Next()
		if err != nil {
			return err
		}
		if t.Kind == wire.End {
			break
		}
		switch string(t.Bytes) {
		case "ts":
			if at, err = e.ts(); err != nil {
				return err
			}
			hasTS = true
		case "metrics":
			if err = e.metrics(); err != nil {
				return err
			}
			hasMetrics = true
		default:
			if err = e.skip(); err != nil {
				return err
			}
		}
	}
	switch {
	case !hasTS:
		return e.refuse(Unprocessable, e.path(".ts"), "is missing: send the time in Unix milliseconds", 0)
	case !hasMetrics:
		return e.refuse(Unprocessable, e.path(".metrics"), "is missing: send a map of names and values", 0)
	}
	for i := from; i < len(e.b.samples); i++ {
		e.b.samples[i].at = at
	}
	return nil
}

func (e *easy) ts() (int64, *Error) {
	t, err := e.src.Next()
	if err != nil {
		return 0, err
	}
	switch {
	case t.Kind == wire.Decimal && math.Abs(t.Float) <= MaxSeq && t.Float == math.Trunc(t.Float),
		t.Kind == wire.Float && math.Abs(t.Float) <= MaxSeq && t.Float == math.Trunc(t.Float):
		return int64(t.Float), nil // what languages write that have no integers
	case t.Kind == wire.Int && t.Int >= -MaxSeq && t.Int <= MaxSeq:
		return t.Int, nil
	}
	return 0, e.refuse(Unprocessable, e.path(".ts"), "is not a time: send an integer of Unix milliseconds", MaxSeq)
}

func (e *easy) metrics() *Error {
	t, err := e.src.Next()
	if err != nil {
		return err
	}
	if t.Kind != wire.Map {
		return e.refuse(Unprocessable, e.path(".metrics"), "is "+t.Kind.String()+": send a map of names and values", 0)
	}
	for {
		if t, err = e.src.Next(); err != nil {
			return err
		}
		if t.Kind == wire.End {
			return nil
		}
		// The name's bytes last until the next token, so it is looked up now; a null after it costs a name at most.
		if !nameOK(t.Bytes) {
			err := badName(t.Bytes, e.src.Offset())
			err.Field = e.path(".metrics")
			return err
		}
		m := e.b.metric(t.Bytes)
		if m < 0 {
			return e.b.err
		}
		if err = e.value(m); err != nil {
			return err
		}
	}
}

func (e *easy) value(m int) *Error {
	t, err := e.src.Next()
	if err != nil {
		return err
	}
	switch t.Kind {
	case wire.Null:
		return nil
	case wire.Int:
		e.b.put(sample{bits: uint64(t.Int), form: scaledForm}, m)
	case wire.Uint:
		e.b.put(sample{bits: uint64(t.Int), form: bigForm}, m)
	case wire.Decimal:
		e.b.put(sample{bits: uint64(t.Int), form: scaledForm, scale: t.Scale}, m)
	case wire.Float:
		e.b.put(numberSample(0, t.Float), m)
	case wire.Bool:
		e.b.put(boolSample(0, t.Int != 0), m)
	case wire.Text:
		e.b.putText(0, textForm, t.Bytes, m)
	case wire.Huge:
		e.b.putText(0, hugeForm, t.Bytes, m)
	default:
		return e.refuse(Unprocessable, e.path(".metrics."+string(e.b.name(m))), "is "+t.Kind.String()+": send a number, true, false, a text or null", 0)
	}
	if e.b.err != nil {
		e.b.err.Offset = e.src.Offset()
		return e.b.err
	}
	return nil
}

// AsError gives the refusal in an error's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
