package wire

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON reads one JSON document (RFC 8259), strictly: no comments, no trailing commas, no byte order mark, no
// unpaired surrogates, no duplicate keys.
type JSON struct {
	p        []byte
	pos      int
	limits   Limits
	elements int
	depth    int
	stack    [maxDepth]jsonFrame
	keys     keys
	names    []byte // of the objects that are open, as read
	scratch  []byte // a string that had escapes
}

type jsonFrame struct {
	isMap   bool
	isValue bool // a key was read, its value comes
	count   int
	base    int // of the keys
	names   int // of the names
}

// Reset makes r read p.
func (r *JSON) Reset(p []byte, l Limits) {
	l.Depth = min(l.Depth, maxDepth)
	l.Keys = min(l.Keys, 1024)
	r.p, r.pos, r.limits, r.elements, r.depth = p, 0, l, 0, 0
	r.keys.spans, r.names = r.keys.spans[:0], r.names[:0]
}

// Release lets go of the document and of memory beyond the ordinary, before r goes to a pool.
func (r *JSON) Release() {
	r.p = nil
	if cap(r.names) > 64<<10 || cap(r.scratch) > 64<<10 || cap(r.keys.spans) > 4096 {
		r.names, r.scratch, r.keys.spans = nil, nil, nil
	}
}

// Offset is the byte at which the next token begins.
func (r *JSON) Offset() int { return r.pos }

func (r *JSON) fail(code Code, field string, limit int, format string, args ...any) (Token, *Error) {
	return Token{}, &Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...), Limit: int64(limit), Offset: r.pos}
}

func (r *JSON) space() {
	for r.pos < len(r.p) {
		switch r.p[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// Next gives the next token.
func (r *JSON) Next() (Token, *Error) {
	if r.limits.Body > 0 && len(r.p) > r.limits.Body {
		return r.fail(TooLarge, "body", r.limits.Body, "has %d bytes: send several messages", len(r.p))
	}
	r.space()
	if r.depth == 0 {
		if r.elements > 0 {
			if r.pos < len(r.p) {
				return r.fail(Malformed, "body", 0, "%d bytes follow the end of the document: send one document a message", len(r.p)-r.pos)
			}
			return Token{Kind: End}, nil
		}
		return r.value()
	}
	f := &r.stack[r.depth-1]
	if f.isValue {
		f.isValue = false
		return r.value()
	}
	if r.pos >= len(r.p) {
		return r.fail(Malformed, "body", 0, "ends within the document: send it whole")
	}
	c := r.p[r.pos]
	if f.isMap && c == '}' || !f.isMap && c == ']' {
		r.pos++
		return r.end(f)
	}
	if f.count > 0 {
		if c != ',' {
			return r.fail(Malformed, "body", 0, "%q stands where a comma or the end belongs: send valid JSON", c)
		}
		r.pos++
		r.space()
	}
	f.count++
	if f.isMap {
		return r.key(f)
	}
	return r.value()
}

func (r *JSON) end(f *jsonFrame) (Token, *Error) {
	if f.isMap {
		if twice, ok := r.keys.pop(f.base, r.names); ok {
			return r.fail(Malformed, "key", 0, "%q is there twice in one object: send each key once", clip(r.names[twice.from:twice.to]))
		}
		r.names = r.names[:f.names]
	}
	r.depth--
	return Token{Kind: End}, nil
}

func (r *JSON) count() *Error {
	if r.elements++; r.elements > r.limits.Elements {
		_, err := r.fail(TooLarge, "body", r.limits.Elements, "has more elements than allowed: send several messages")
		return err
	}
	return nil
}

func (r *JSON) key(f *jsonFrame) (Token, *Error) {
	if err := r.count(); err != nil {
		return Token{}, err
	}
	if f.count > r.limits.Keys {
		return r.fail(TooLarge, "body", r.limits.Keys, "an object has too many keys: use fewer")
	}
	if r.pos >= len(r.p) || r.p[r.pos] != '"' {
		return r.fail(Malformed, "body", 0, "an object's key must be a string: send valid JSON")
	}
	b, err := r.text()
	if err != nil {
		return Token{}, err
	}
	r.space()
	if r.pos >= len(r.p) || r.p[r.pos] != ':' {
		return r.fail(Malformed, "body", 0, "a colon must follow a key: send valid JSON")
	}
	r.pos++
	from := len(r.names)
	r.names = append(r.names, b...)
	r.keys.push(from, len(r.names))
	f.isValue = true
	return Token{Kind: Key, Bytes: r.names[from:]}, nil
}

func (r *JSON) value() (Token, *Error) {
	if err := r.count(); err != nil {
		return Token{}, err
	}
	r.space()
	if r.pos >= len(r.p) {
		return r.fail(Malformed, "body", 0, "ends within the document: send it whole")
	}
	switch c := r.p[r.pos]; {
	case c == '{' || c == '[':
		if r.depth >= r.limits.Depth {
			return r.fail(Malformed, "body", r.limits.Depth, "is nested too deeply: use fewer levels")
		}
		r.stack[r.depth] = jsonFrame{isMap: c == '{', base: len(r.keys.spans), names: len(r.names)}
		r.depth++
		r.pos++
		if c == '{' {
			return Token{Kind: Map}, nil
		}
		return Token{Kind: List}, nil
	case c == '"':
		b, err := r.text()
		return Token{Kind: Text, Bytes: b}, err
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	case c == 't':
		return r.word("true", Token{Kind: Bool, Int: 1})
	case c == 'f':
		return r.word("false", Token{Kind: Bool})
	case c == 'n':
		return r.word("null", Token{Kind: Null})
	default:
		return r.fail(Malformed, "body", 0, "%q begins no value: send valid JSON (NaN and Infinity are none)", c)
	}
}

func (r *JSON) word(w string, t Token) (Token, *Error) {
	if len(r.p)-r.pos < len(w) || string(r.p[r.pos:r.pos+len(w)]) != w {
		return r.fail(Malformed, "body", 0, "%s is misspelt: send valid JSON", w)
	}
	r.pos += len(w)
	return t, nil
}

// text reads a string; r.pos is at its opening quote.
func (r *JSON) text() ([]byte, *Error) {
	start := r.pos + 1
	ascii := true
	for i := start; i < len(r.p); i++ {
		switch c := r.p[i]; {
		case c == '"':
			b := r.p[start:i]
			if !ascii && !utf8.Valid(b) {
				_, err := r.fail(Malformed, "body", 0, "a string is not valid UTF-8: use UTF-8")
				return nil, err
			}
			r.pos = i + 1
			return b, nil
		case c == '\\':
			return r.escaped(start, i)
		case c < 0x20:
			r.pos = i
			_, err := r.fail(Malformed, "body", 0, "a string holds the control character 0x%02x: write it as an escape", c)
			return nil, err
		case c >= 0x80:
			ascii = false
		}
	}
	_, err := r.fail(Malformed, "body", 0, "ends within a string: send it whole")
	return nil, err
}

func (r *JSON) escaped(start, at int) ([]byte, *Error) {
	out := append(r.scratch[:0], r.p[start:at]...)
	defer func() { r.scratch = out }()
	for i := at; i < len(r.p); {
		c := r.p[i]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				_, err := r.fail(Malformed, "body", 0, "a string is not valid UTF-8: use UTF-8")
				return nil, err
			}
			r.pos = i + 1
			return out, nil
		case c < 0x20:
			r.pos = i
			_, err := r.fail(Malformed, "body", 0, "a string holds the control character 0x%02x: write it as an escape", c)
			return nil, err
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		r.pos = i
		if i+1 >= len(r.p) {
			break
		}
		i += 2
		switch e := r.p[i-1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			ch, ok := hex4(r.p, i)
			i += 4
			if ok && utf16.IsSurrogate(ch) {
				low, isLow := rune(0), false
				if i+1 < len(r.p) && r.p[i] == '\\' && r.p[i+1] == 'u' {
					low, isLow = hex4(r.p, i+2)
				}
				ch = utf16.DecodeRune(ch, low)
				ok = isLow && ch != utf8.RuneError
				i += 6
			}
			if !ok {
				_, err := r.fail(Malformed, "body", 0, "a \\u escape is no character: use four hex digits, surrogates in pairs")
				return nil, err
			}
			out = utf8.AppendRune(out, ch)
		default:
			_, err := r.fail(Malformed, "body", 0, "\\%c is no escape: send valid JSON", e)
			return nil, err
		}
	}
	_, err := r.fail(Malformed, "body", 0, "ends within a string: send it whole")
	return nil, err
}

func hex4(p []byte, i int) (rune, bool) {
	if len(p)-i < 4 {
		return 0, false
	}
	var v rune
	for _, c := range p[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
