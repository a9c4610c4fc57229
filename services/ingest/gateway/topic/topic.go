package topic

import (
	"errors"
	"net/url"
	"strings"

	"muster.dev/proto/identity"
)

// Topic is what a topic says.
type Topic struct {
	Events bool            // else telemetry
	Device identity.Device // whose message it is; empty is the sender's own
	Dialect
	Bag
}

// Dialect is whose words a topic is written in, where that decides how a body is read.
type Dialect uint8

// The dialects. Muster's and Hono's topics take the same bodies.
const (
	Own Dialect = iota
	ThingsBoard
	Telegraf
)

// Bag is what a property bag says.
type Bag struct {
	ContentType string
	OnError     OnError
}

// OnError is what is to become of a connection whose message is refused, if its version has no word for a refusal.
type OnError uint8

// Hono's words, in its order.
const (
	Disconnect OnError = iota // "disconnect", "default", and nothing
	Ignore                    // "ignore": acknowledge as if it were stored
	SkipAck                   // "skip-ack": say nothing
)

// ErrUnknown is a topic that nothing is sent to here, ErrDevice one that names no device or another tenant's.
var (
	ErrUnknown = errors.New("no such topic")
	ErrDevice  = errors.New("the topic names no device of this fleet")
)

// tenant is the one that every device belongs to, where a scheme wants one named.
const tenant = "default"

// Parse reads a topic.
func Parse(s string) (t Topic, err error) {
	switch s { // what nearly all say
	case "telemetry", "t":
		return Topic{}, nil
	case "events", "e", "event":
		return Topic{Events: true}, nil
	}
	if at := strings.LastIndex(s, "/?"); at >= 0 {
		if t.Bag, err = bag(s[at+2:]); err != nil {
			return Topic{}, err
		}
		s = s[:at]
	}
	var parts [5]string // one more than any topic has
	n := 0
	for part := range strings.SplitSeq(s, "/") {
		if n == len(parts) {
			return Topic{}, ErrUnknown
		}
		parts[n] = part
		n++
	}
	hono := true
	switch parts[0] {
	case "telemetry", "t":
	case "events":
		t.Events, hono = true, false
	case "event", "e":
		t.Events = true
	case "v1":
		return t.foreign(parts[1:n])
	default:
		return Topic{}, ErrUnknown
	}
	switch short := parts[0] == "t" || parts[0] == "e" || parts[0] == "event"; {
	case n == 1:
		return t, nil
	case n == 2 && !short:
		return t.of(parts[1])
	case n == 3 && hono && (parts[1] == "" || parts[1] == tenant):
		return t.of(parts[2])
	case n == 3 && hono:
		return Topic{}, ErrDevice // another tenant's devices are as unknown as any
	}
	return Topic{}, ErrUnknown
}

// foreign reads what follows v1/.
func (t Topic) foreign(parts []string) (Topic, error) {
	switch {
	case len(parts) == 3 && parts[0] == "devices" && parts[1] == "me" && parts[2] == "telemetry":
		t.Dialect = ThingsBoard
		return t, nil
	case len(parts) == 2 && parts[1] == "telemetry":
		t.Dialect = Telegraf
		return t.of(parts[0])
	}
	return Topic{}, ErrUnknown
}

func (t Topic) of(device string) (Topic, error) {
	id, err := identity.ParseDevice(device)
	if err != nil {
		return Topic{}, ErrDevice
	}
	t.Device = id
	return t, nil
}

// bag reads Hono's property bag, in which it is free to hold more than what counts here.
func bag(s string) (b Bag, err error) {
	values, err := url.ParseQuery(s)
	if err != nil {
		return Bag{}, ErrUnknown
	}
	b.ContentType = values.Get("content-type")
	switch values.Get("on-error") {
	case "", "default", "disconnect":
	case "ignore":
		b.OnError = Ignore
	case "skip-ack":
		b.OnError = SkipAck
	default:
		return Bag{}, ErrUnknown
	}
	return b, nil
}
