package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// Record is one record of the registry's log: what is needed of it to hold it to the chain and to read it.
type Record struct {
	Offset int64
	Type   string // ce_type
	Value  []byte
}

// Hash is what the next event of the chain must name.
type Hash [sha256.Size]byte

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is the hash in hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	got, err := ParseHash(string(text))
	if err == nil {
		*h = got
	}
	return err
}

// ParseHash reads 64 hex digits.
func ParseHash(s string) (Hash, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != sha256.Size {
		return Hash{}, fmt.Errorf("%.80q is no hash: want 64 hex digits", s)
	}
	return Hash(raw), nil
}

// node is a record as a link.
type node struct {
	n         uint64
	prev, sum Hash
	offset    int64
	time      int64
	typ, who  string
}

func (n node) String() string {
	return fmt.Sprintf("%s by %q of %s, SHA-256 %s", short(n.typ), n.who, stamp(n.time), n.sum)
}

// read decodes a record as every reader of the log does.
func (r Record) read() (event.Registry, node, error) {
	at := node{sum: sha256.Sum256(r.Value), offset: r.Offset, typ: r.Type}
	e, err := event.DecodeRegistry([]event.Header{{Key: record.HeaderType, Value: []byte(r.Type)}}, r.Value)
	if err != nil {
		return event.Registry{}, at, fmt.Errorf("read the event at offset %d: %w", r.Offset, err)
	}
	at.n, at.prev, at.time, at.who = e.N, e.Prev, e.Time, e.Who
	return e, at, nil
}

// disguised says whether the body has keys that an event of the record's type has not. The type is a header, which the
// chain does not cover where the event does not say it itself: one of the first release under another type's name would
// pass unseen.
func (s shapes) disguised(e event.Registry, value []byte) (key string, yes bool) {
	if _, unknown := e.Body.(event.Unknown); unknown {
		return "", false
	}
	has := s.of(reflect.TypeOf(e.Body))
	// It was decoded before, within its bounds: no error is reached here.
	dec := msgpack.NewDecoder(bytes.NewReader(value))
	_ = each(dec, func(name string) error {
		if name != "body" {
			return dec.Skip()
		}
		return each(dec, func(name string) error {
			if _, ok := has[name]; !ok && !yes {
				key, yes = name, true
			}
			return dec.Skip()
		})
	})
	return key, yes
}

// each calls fn with each key of a map; fn takes the value.
func each(dec *msgpack.Decoder, fn func(key string) error) error {
	n, err := dec.DecodeMapLen()
	for range n {
		var key string
		if key, err = dec.DecodeString(); err == nil {
			err = fn(key)
		}
		if err != nil {
			return err
		}
	}
	return err
}

// shapes are bodies' names on the wire, with the places of their fields, of the types that were met.
type shapes map[reflect.Type]map[string]int

func (s shapes) of(t reflect.Type) map[string]int {
	if was, ok := s[t]; ok {
		return was
	}
	out := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("msgpack"), ",")
		if name != "" && name != "-" {
			out[name] = i
		}
	}
	s[t] = out
	return out
}

// short is a type without what all have in common.
func short(ceType string) string {
	return strings.TrimSuffix(strings.TrimPrefix(ceType, "muster.registry."), ".v1")
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
