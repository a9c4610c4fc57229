package telegraf

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"muster.dev/proto/batch"
)

// Looks says whether a JSON body is Telegraf's and not of our easy form, by its top: {"metrics":[ or {"fields":{. The caller
// has bounded the length of p.
func Looks(p []byte) bool {
	if !bytes.Contains(p, []byte(`"fields"`)) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(p))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		t, err := d.Token()
		switch {
		case err != nil:
			return false
		case key == "metrics" && t == json.Delim('['), key == "fields" && t == json.Delim('{'):
			return true
		case key == "readings":
			return false
		}
		if pass(d, t) != nil {
			return false
		}
	}
	return false
}

// maxDepth is how deep what is passed over may be: the decoder remembers each level, of which a body could have millions.
const maxDepth = batch.MaxDepth

var errDeep = errors.New("it is too deep")

// pass passes over the rest of a value that begins with t.
func pass(d *json.Decoder, t json.Token) error {
	for depth := 0; ; {
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return errDeep
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if t, err = d.Token(); err != nil {
			return err
		}
	}
}

type jsonReader struct {
	*gathering
	d *json.Decoder
}

func (g *gathering) readJSON(body []byte) error {
	r := jsonReader{g, json.NewDecoder(bytes.NewReader(body))}
	r.d.UseNumber()
	if err := r.top(); err != nil {
		return err
	}
	if _, err := r.d.Token(); !errors.Is(err, io.EOF) {
		return refuse(batch.Malformed, "body", "goes on after its end, at byte %d", r.d.InputOffset())
	}
	return nil
}

func (r jsonReader) token() (json.Token, error) {
	t, err := r.d.Token()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refuse(batch.Malformed, "body", "ends early")
	case err != nil:
		return nil, refuse(batch.Malformed, "body", "is not JSON at byte %d: %.200v", r.d.InputOffset(), err)
	}
	return t, nil
}

// open reads what a list or an object begins with.
func (r jsonReader) open(field string, want json.Delim) error {
	t, err := r.token()
	if err == nil && t != want {
		err = refuse(batch.Unprocessable, field, "must begin with %s", want)
	}
	return err
}

// members calls read for each member of an object behind its brace.
func (r jsonReader) members(read func(key string) error) error {
	for r.d.More() {
		t, err := r.token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // nothing else can stand there
		if err := read(key); err != nil {
			return err
		}
	}
	_, err := r.token()
	return err
}

// top reads the whole: a list of metrics, or one metric.
func (r jsonReader) top() error {
	if err := r.open("body", '{'); err != nil {
		return err
	}
	list, one := false, false
	err := r.members(func(key string) error {
		switch {
		case key == "metrics" && one, key == "fields" && list:
			return refuse(batch.Unprocessable, key, "stand beside each other: send one metric, or a list of them")
		case key == "metrics":
			list = true
			return r.list()
		case list:
			return r.skip()
		case !one && (key == "name" || key == "tags" || key == "fields" || key == "timestamp"):
			one = true
			if _, err := r.next(); err != nil {
				return err
			}
		}
		return r.member(key)
	})
	if err == nil && one {
		err = r.done()
	}
	return err
}

func (r jsonReader) list() error {
	if err := r.open("metrics", '['); err != nil {
		return err
	}
	for r.d.More() {
		if _, err := r.next(); err != nil {
			return err
		}
		if err := r.open(r.at(""), '{'); err != nil {
			return err
		}
		if err := r.members(r.member); err != nil {
			return err
		}
		if err := r.done(); err != nil {
			return err
		}
	}
	_, err := r.token()
	return err
}

// member reads one of a metric.
func (r jsonReader) member(key string) error {
	p := &r.point
	switch key {
	case "name":
		t, err := r.token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return refuse(batch.Unprocessable, r.at("name"), "must be a text")
		}
		p.name = name
		return nil
	case "timestamp":
		return r.timestamp()
	case "tags":
		p.tags, p.text = p.tags[:0], 0
		if err := r.open(r.at("tags"), '{'); err != nil {
			return err
		}
		return r.members(func(key string) error {
			t, err := r.token()
			if err != nil {
				return err
			}
			value, ok := t.(string)
			if !ok {
				return refuse(batch.Unprocessable, r.at("tags"), "must be texts, and %.80q is none", key)
			}
			return r.addTag(key, value)
		})
	case "fields":
		p.fields = p.fields[:0]
		if err := r.open(r.at("fields"), '{'); err != nil {
			return err
		}
		return r.members(r.field)
	}
	return r.skip()
}

func (r jsonReader) field(key string) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	v, ok := value{}, true
	switch t := t.(type) {
	case json.Number:
		v, ok = number(t.String(), !strings.ContainsAny(t.String(), ".eE"))
	case bool:
		v = truth(t)
	case string:
		v = words(t)
	default:
		ok = false
	}
	if !ok {
		return refuse(batch.Unprocessable, r.at("fields"), "must be numbers, texts and truth values, and %.80q is none of them", key)
	}
	return r.addField(key, v)
}

func (r jsonReader) timestamp() error {
	t, err := r.token()
	if err != nil {
		return err
	}
	n, _ := t.(json.Number)
	v, ok := number(n.String(), true)
	if !ok || v.kind != integer {
		return refuse(batch.Unprocessable, r.at("timestamp"), "must be Unix time as a whole number: leave json_timestamp_format unset")
	}
	r.point.ts, r.point.dated = unix(int64(v.bits)), true
	return nil
}

func (r jsonReader) skip() error {
	t, err := r.token()
	if err == nil {
		switch broken := pass(r.d, t); {
		case errors.Is(broken, errDeep):
			err = refuse(batch.Malformed, "body", "is deeper than %d lists and objects at byte %d", maxDepth, r.d.InputOffset())
		case broken != nil:
			err = refuse(batch.Malformed, "body", "is not JSON at byte %d", r.d.InputOffset())
		}
	}
	return err
}
