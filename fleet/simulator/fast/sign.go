package fast

import (
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// typeSign and what follows is the wire form of a sign, which gateways write when an identity is used from two places in turns.
const (
	typeSign  = "muster.gateway.sign.v1"
	eventSign = "clone-sign"
	signKind  = "two-addresses"
)

// What a gateway's rule is: it takes two returns to the place before within the window, and is told once a minute.
const (
	signWindow  = 5 * time.Minute
	signReturns = 2
	signEvery   = time.Minute
)

// The addresses from which devices and their clones would come: of networks that are for documents (RFC 5737).
const (
	ownAddress   = "192.0.2.10"
	cloneAddress = "198.51.100.10"
)

// turns is how a device and its clone take turns, as their gateway sees it. The zero value has seen the device alone.
type turns struct {
	away    bool // the last message was the clone's
	returns int
	since   int64 // Unix ms: the first turn of those that count
	told    int64
}

// came says whether a message is a sign that is told.
func (t *turns) came(clone bool, at int64) bool {
	if clone == t.away {
		return false
	}
	t.away = clone
	if t.since == 0 || at-t.since > signWindow.Milliseconds() {
		t.since, t.returns = at, 0
		return false
	}
	if t.returns++; t.returns < signReturns || t.told != 0 && at-t.told < signEvery.Milliseconds() {
		return false
	}
	t.told = at
	return true
}

// appendSign appends the sign's value.
func appendSign(dst []byte, gateway string, clone bool, at int64) ([]byte, error) {
	fields := map[string]any{
		"ts": at, "type": eventSign, "sign": signKind, "gateway": gateway, "stream": "telemetry", "address": ownAddress, "other_address": cloneAddress,
	}
	if clone {
		fields["address"], fields["other_address"] = cloneAddress, ownAddress
	}
	w := appending(dst)
	enc := msgpack.NewEncoder(&w)
	enc.UseCompactInts(true)
	enc.SetSortMapKeys(true)
	err := enc.Encode(map[string]any{"v": int64(event.Version), "events": []any{fields}})
	return w, err
}

type appending []byte

func (a *appending) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// signHeaders are those of a sign's record, after the device's stamp.
func signHeaders(m *member, gateway string, at int64) [][2]string {
	return [][2]string{
		{record.HeaderType, typeSign},
		{"ce_specversion", "1.0"},
		{"ce_id", string(m.key) + "/" + signKind + "/" + strconv.FormatInt(at, 10)},
		{"ce_source", "/muster/gateway/" + gateway},
		{"content-type", "application/msgpack"},
	}
}
