package thingsboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"muster.dev/proto/batch"
)

// Parse reads a body that came at nowMS into b, which it resets first. It refuses with a *batch.Error, and keeps nothing
// of p. The caller has bounded the length of p.
func Parse(p []byte, nowMS int64, b *batch.Builder) error {
	b.Reset()
	r := reader{dec: json.NewDecoder(bytes.NewReader(p)), b: b, now: nowMS}
	r.dec.UseNumber()
	if !utf8.Valid(p) {
		return r.refuse(batch.Malformed, "body", "is not UTF-8")
	}
	if err := r.body(); err != nil {
		return err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return r.refuse(batch.Malformed, "body", "goes on after its end")
	}
	return b.Err()
}

type reader struct {
	dec *json.Decoder
	b   *batch.Builder
	now int64
}

func (r *reader) refuse(code batch.Code, field, detail string, args ...any) error {
	return &batch.Error{Code: code, Field: field, Detail: fmt.Sprintf(detail, args...), Offset: int(r.dec.InputOffset())}
}

// broken is for what the decoder says.
func (r *reader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.refuse(batch.Malformed, "body", "ends early")
	}
	return r.refuse(batch.Malformed, "body", "is not JSON: %v", err)
}

func (r *reader) body() error {
	t, err := r.dec.Token()
	switch {
	case err != nil:
		return r.broken(err)
	case t == json.Delim('{'):
		return r.object()
	case t != json.Delim('['):
		return r.refuse(batch.Malformed, "body", "is neither an object nor a list: send {\"metric\": value}, {\"ts\": …, \"values\": {…}}, or a list of them")
	}
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return r.broken(err)
		}
		if t != json.Delim('{') {
			return r.refuse(batch.Malformed, "body", "is a list that holds something else than objects")
		}
		if err := r.object(); err != nil {
			return err
		}
		if err := r.b.Err(); err != nil { // too much already
			return err
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return r.broken(err)
	}
	return nil
}

// member is one of an object. Its value is whole JSON.
type member struct {
	name  string
	value json.RawMessage
}

// object reads one behind its brace.
func (r *reader) object() error {
	var few [16]member
	members, ts, values := few[:0], -1, -1
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return r.broken(err)
		}
		m := member{}
		m.name, _ = t.(string) // nothing else can stand there
		if err := r.dec.Decode(&m.value); err != nil {
			return r.broken(err)
		}
		switch {
		case m.name == "ts":
			ts = len(members)
		case m.name == "values" && m.value[0] == '{':
			values = len(members)
		}
		if members = append(members, m); len(members) > batch.MaxValues {
			return r.refuse(batch.TooLarge, "body", "has an object of more than %d members: send several messages", batch.MaxValues)
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return r.broken(err)
	}
	if ts < 0 || values < 0 {
		return r.add(members, r.now)
	}
	at, err := strconv.ParseInt(string(members[ts].value), 10, 64)
	if err != nil {
		return r.refuse(batch.Unprocessable, "ts", "is %.40q: send Unix milliseconds", members[ts].value)
	}
	inner := reader{dec: json.NewDecoder(bytes.NewReader(members[values].value)), b: r.b}
	inner.dec.UseNumber()
	if _, err := inner.dec.Token(); err != nil {
		return r.broken(err)
	}
	return inner.values(at)
}

// values reads the object under the key of that name.
func (r *reader) values(at int64) error {
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return r.broken(err)
		}
		m := member{}
		m.name, _ = t.(string)
		if err := r.dec.Decode(&m.value); err != nil {
			return r.broken(err)
		}
		if err := r.add([]member{m}, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) add(members []member, at int64) error {
	for _, m := range members {
		switch v := m.value; v[0] {
		case 'n': // nothing was measured
		case 't', 'f':
			r.b.SetBool(at, m.name, v[0] == 't')
		case '"':
			var s string
			if err := json.Unmarshal(v, &s); err != nil {
				return r.broken(err)
			}
			r.b.SetText(at, m.name, s)
		case '{', '[':
			return r.refuse(batch.Unprocessable, fmt.Sprintf("%.63q", m.name), "holds an object or a list: send numbers, truth values and texts")
		default:
			if err := r.number(m.name, string(v), at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) number(name, v string, at int64) error {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		r.b.SetInt(at, name, n)
		return nil
	}
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		r.b.SetUint(at, name, n)
		return nil
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return r.refuse(batch.Unprocessable, fmt.Sprintf("%.63q", name), "is a number that no double holds")
	}
	r.b.SetNumber(at, name, f)
	return nil
}
