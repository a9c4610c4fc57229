package telegraf

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"muster.dev/proto/batch"
)

// The limits of a body; its bytes are the caller's to bound.
const (
	MaxMetrics  = 10_000  // of Telegraf's
	MaxValues   = 100_000 // fields
	MaxMessages = 1_000   // that it is cut into
	MaxTags     = 64      // of a metric
	maxWord     = 256     // bytes of a name
	maxTagText  = 2 << 10 // bytes of a metric's tags: each of its fields has them in its name
)

// Settings is what the caller knows of a body.
type Settings struct {
	Device string // whose it is; empty: the tags say it
	NowMS  int64  // when it came
}

// Message is what a body says of one device at one time.
type Message struct {
	Device string // as a tag has it: whether it is anybody's name is for the caller to find out
	TS     int64  // Unix ms
	// Dated is false of what had no timestamp: two such messages may look alike and be two.
	Dated  bool
	values []value
	seen   map[string]int // place in values, by metric
}

type value struct {
	metric string
	kind   kind
	bits   uint64 // of a number
	text   string
}

// Values is how many there are.
func (m *Message) Values() int { return len(m.values) }

// AddTo adds the values to a message of the wire. Those that no message can hold are faults of its reader, as in the forms
// of our own.
func (m *Message) AddTo(b *batch.Builder) {
	for i := range m.values {
		m.values[i].set(b, m.TS)
	}
}

// Parse reads a body in either form, which shows in its first byte. It refuses with a *batch.Error; a body that is refused
// has no messages. It keeps nothing of p.
func Parse(p []byte, s Settings) ([]*Message, error) {
	if !utf8.Valid(p) {
		return nil, refuse(batch.Malformed, "body", "is not UTF-8")
	}
	g := gathering{Settings: s, open: map[where]*Message{}}
	read := g.readLines
	if first := bytes.TrimLeft(p, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		read = g.readJSON
	}
	if err := read(p); err != nil {
		return nil, err
	}
	if len(g.all) == 0 {
		return nil, refuse(batch.Unprocessable, "metrics", "hold no value: send at least one")
	}
	return g.all, nil
}

func refuse(code batch.Code, field, detail string, args ...any) error {
	return &batch.Error{Code: code, Field: field, Detail: fmt.Sprintf(detail, args...)}
}

func tooMany(field, detail string, limit int64) error {
	return &batch.Error{Code: batch.TooLarge, Field: field, Detail: detail, Limit: limit}
}

type where struct {
	device string
	ts     int64
	dated  bool
}

// gathering is the messages of a body so far.
type gathering struct {
	Settings
	all     []*Message
	open    map[where]*Message
	metrics int
	values  int

	point point // of one metric, used again
	names names
}

// point is one metric of Telegraf's while it is read. Nothing of it outlives the next.
type point struct {
	name   string
	tags   []tag
	text   int // bytes of the tags
	fields []field
	ts     int64
	dated  bool
}

type tag struct{ key, value string }

type field struct {
	key string
	value
}

func (p *point) reset() { *p = point{tags: p.tags[:0], fields: p.fields[:0]} }

// next makes room for one more metric.
func (g *gathering) next() (*point, error) {
	if g.metrics++; g.metrics > MaxMetrics {
		return nil, tooMany("metrics", "are too many for one body: set metric_batch_size lower", MaxMetrics)
	}
	g.point.reset()
	return &g.point, nil
}

func (g *gathering) addTag(key, value string) error {
	p := &g.point
	if len(p.tags) == MaxTags {
		return tooMany(g.at("tags"), "are too many for one metric", MaxTags)
	}
	if p.text += len(key) + len(value); p.text > maxTagText {
		return tooMany(g.at("tags"), "are too long for one metric", maxTagText)
	}
	p.tags = append(p.tags, tag{key, value})
	return nil
}

func (g *gathering) addField(key string, v value) error {
	if g.values++; g.values > MaxValues {
		return tooMany("metrics", "hold too many fields for one body: set metric_batch_size lower", MaxValues)
	}
	if len(key) > maxWord {
		return tooMany(g.at("fields"), "hold a name that is too long", maxWord)
	}
	g.point.fields = append(g.point.fields, field{key, v})
	return nil
}

// at is where in the body, for who reads a refusal.
func (g *gathering) at(member string) string {
	return "metrics[" + strconv.Itoa(g.metrics-1) + "]." + member
}

// done puts the point's values into the messages that they belong to.
func (g *gathering) done() error {
	p := &g.point
	switch {
	case p.name == "":
		return refuse(batch.Unprocessable, g.at("name"), "is missing")
	case len(p.name) > maxWord:
		return tooMany(g.at("name"), "is too long", maxWord)
	case len(p.fields) == 0:
		return refuse(batch.Unprocessable, g.at("fields"), "are missing: send at least one")
	}
	slices.SortStableFunc(p.tags, func(a, b tag) int { return cmp.Compare(a.key, b.key) })
	device, by, err := g.device(p)
	if err != nil {
		return err
	}
	at := where{device, p.ts, p.dated}
	if !p.dated {
		at.ts = g.NowMS
	}
	for i := range p.fields {
		f := &p.fields[i]
		f.metric = g.names.of(p, f.key, by)
		if err := g.put(at, f.value); err != nil {
			return err
		}
	}
	return nil
}

// The tags that name a device, the first that is there counts.
const (
	tagDeviceID = "device_id"
	tagDevice   = "device"
	tagHost     = "host"
)

// device is whose a point is, and the tag that says it.
func (g *gathering) device(p *point) (device, by string, err error) {
	for _, key := range [...]string{tagDeviceID, tagDevice, tagHost} {
		for i := range p.tags {
			t := &p.tags[i]
			switch {
			case t.key != key || t.value == "":
			case g.Device == "":
				return t.value, key, nil
			case key == tagDeviceID && t.value != g.Device:
				return "", "", refuse(batch.Unprocessable, g.at("tags.device_id"), "is %.80q, and the message is sent for %q: they must be the same", t.value, g.Device)
			}
		}
	}
	if g.Device != "" {
		return g.Device, tagDeviceID, nil
	}
	return "", "", refuse(batch.Unprocessable, g.at("tags"), "name no device: send one of device_id, device and host")
}

// put puts a value into the message of its device and time, or into one more when that is full or has another value of this
// name: names that differ for Telegraf may be one here.
func (g *gathering) put(at where, v value) error {
	m := g.open[at]
	if m != nil {
		if had, twice := m.seen[v.metric]; twice && m.values[had] == v {
			return nil
		} else if twice || len(m.values) == batch.MaxColumns {
			m = nil
		}
	}
	if m == nil {
		if len(g.all) == MaxMessages {
			return tooMany("metrics", "are of too many devices and times for one body: set metric_batch_size lower", MaxMessages)
		}
		m = &Message{Device: at.device, TS: at.ts, Dated: at.dated, seen: map[string]int{}}
		g.open[at] = m
		g.all = append(g.all, m)
	}
	m.seen[v.metric] = len(m.values)
	m.values = append(m.values, v)
	return nil
}

// unix is a timestamp in milliseconds, rounded down. Between 1973 and 5138 each unit has sizes of its own.
func unix(n int64) (ms int64) {
	size := n
	if size < 0 {
		size = -max(size, -1<<62)
	}
	switch {
	case size < 1e11:
		return n * 1_000
	case size < 1e14:
		return n
	case size < 1e17:
		return floor(n, 1_000)
	}
	return floor(n, 1_000_000)
}

func floor(n, by int64) int64 {
	if n < 0 && n%by != 0 {
		return n/by - 1
	}
	return n / by
}
