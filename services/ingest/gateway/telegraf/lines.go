package telegraf

import (
	"bytes"
	"errors"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"muster.dev/proto/batch"
)

// maxLine bounds what the decoder puts into the text of an error.
const maxLine = 64 << 10

// readLines reads the line protocol.
func (g *gathering) readLines(body []byte) error {
	for rest := body; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		if len(line) > maxLine {
			return tooMany("body", "has a line that is too long", maxLine)
		}
		rest = after
	}
	d := lineprotocol.NewDecoderWithBytes(body)
	for d.Next() {
		if err := g.line(d); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) line(d *lineprotocol.Decoder) error {
	p, err := g.next()
	if err != nil {
		return err
	}
	name, err := d.Measurement()
	if err != nil {
		return g.broken(err)
	}
	p.name = string(name)
	for {
		key, value, err := d.NextTag()
		if err != nil {
			return g.broken(err)
		}
		if key == nil {
			break
		}
		if err := g.addTag(string(key), string(value)); err != nil {
			return err
		}
	}
	for {
		key, kind, raw, err := d.NextFieldBytes()
		if err != nil {
			return g.broken(err)
		}
		if key == nil {
			break
		}
		v, ok := lineValue(kind, raw)
		if !ok {
			return refuse(batch.Malformed, g.at("fields"), "hold %.80q for %.80q, which is no value", raw, key)
		}
		if err := g.addField(string(key), v); err != nil {
			return err
		}
	}
	raw, err := d.TimeBytes()
	if err != nil {
		return g.broken(err)
	}
	if raw != nil {
		n, ok := number(string(raw), true)
		if !ok || n.kind != integer {
			return refuse(batch.Malformed, g.at("timestamp"), "is %.80q: send Unix time as a whole number", raw)
		}
		p.ts, p.dated = unix(int64(n.bits)), true
	}
	return g.done()
}

func lineValue(kind lineprotocol.ValueKind, raw []byte) (value, bool) {
	switch kind {
	case lineprotocol.Int, lineprotocol.Uint:
		if bytes.IndexFunc(raw, func(r rune) bool { return r != '-' && (r < '0' || r > '9') }) >= 0 {
			return value{}, false
		}
		return number(string(raw), true)
	case lineprotocol.Float:
		if bytes.ContainsAny(raw, "xX_iInNpP") { // what Go reads beyond the protocol's numbers
			return value{}, false
		}
		return number(string(raw), false)
	case lineprotocol.Bool:
		switch string(raw) {
		case "t", "T", "true", "True", "TRUE":
			return truth(true), true
		case "f", "F", "false", "False", "FALSE":
			return truth(false), true
		}
		return value{}, false
	case lineprotocol.String:
		return words(string(raw)), true
	}
	return value{}, false
}

func (g *gathering) broken(err error) error {
	var at *lineprotocol.DecodeError
	if !errors.As(err, &at) {
		return refuse(batch.Malformed, "body", "is no line protocol: %.200v", err)
	}
	return refuse(batch.Malformed, "body", "is no line protocol at line %d, column %d: %.200v", at.Line, at.Column, at.Err)
}
