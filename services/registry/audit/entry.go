package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"muster.dev/proto/event"
)

// Entry is an event as a person reads it, and what proves it.
type Entry struct {
	Event   uint64          `json:"n"`
	Offset  int64           `json:"offset"`
	Time    time.Time       `json:"time"`
	Type    string          `json:"type"` // ce_type
	Who     string          `json:"who"`
	Why     string          `json:"why"`
	Device  string          `json:"device,omitempty"`  // that it is about; the old one of two
	Subject string          `json:"subject,omitempty"` // what else it is about
	Body    json.RawMessage `json:"body,omitempty"`    // absent of a type that is not known here
	Error   string          `json:"error,omitempty"`   // why it is no event; all but offset, type, hash and value is then empty
	Hash    Hash            `json:"hash"`              // SHA-256 of the value
	Value   []byte          `json:"value,omitempty"`   // the record's, as it stands in the log

	concerns bool
}

// Concerns says whether the entry is about the device that its Reader follows, or about its cohort.
func (e Entry) Concerns() bool { return e.concerns }

// Kind is the type without what all have in common, as device-revoked.
func (e Entry) Kind() string { return short(e.Type) }

// String is the entry on one line.
func (e Entry) String() string {
	at := fmt.Sprintf("%s %6d @%d", e.Time.Format("2006-01-02T15:04:05.000Z"), e.Event, e.Offset)
	if e.Error != "" {
		return fmt.Sprintf("@%d is no event: %s", e.Offset, e.Error)
	}
	about := e.Device
	if e.Subject != "" {
		if about != "" {
			about += ", "
		}
		about += e.Subject
	}
	line := fmt.Sprintf("%s %s [%s] by %s", at, short(e.Type), about, e.Who)
	if e.Why != "" {
		line += ": " + e.Why
	}
	return line
}

// Reader makes entries of records, in their order: it remembers the names of the devices whose enrolment it has seen,
// 16 bytes and the name's own each. It is for one goroutine.
type Reader struct {
	names  names
	named  func(no uint32) (string, bool)
	shapes shapes
	follow string // a device
	cohort string // its, by now
}

// NewReader knows no device yet.
func NewReader() *Reader { return &Reader{shapes: shapes{}} }

// Follow makes Concerns true of what is about the device, and of what was said of its cohort while it was in it.
func (r *Reader) Follow(device string) { r.follow = device }

// Named has the devices' names looked up elsewhere, and none remembered here; nil ends it.
func (r *Reader) Named(by func(no uint32) (string, bool)) { r.named = by }

// name is what a device is called.
func (r *Reader) name(no uint32) string {
	if r.named != nil {
		if name, ok := r.named(no); ok {
			return name
		}
		return numbered(no)
	}
	return r.names.of(no)
}

// Entry makes the entry of a record that the Verifier has judged.
func (r *Reader) Entry(rec Record, e event.Registry, linked bool, err error) Entry {
	at := Entry{Offset: rec.Offset, Type: rec.Type, Value: rec.Value, Hash: Hash(event.Chain(rec.Value))}
	if err != nil {
		at.Error = err.Error()
		return at
	}
	at.Event, at.Time, at.Who, at.Why = e.N, time.UnixMilli(e.Time).UTC(), e.Who, e.Why
	at.Body = r.shapes.bodyJSON(e.Body)
	if linked { // a foreign event must not rename a device
		r.learn(e.Body)
	}
	a := r.about(e.Body)
	at.Subject = a.subject
	if len(a.devices) > 0 {
		at.Device = a.devices[0]
	}
	at.concerns = r.follow != "" && (slices.Contains(a.devices, r.follow) || a.cohort != "" && a.cohort == r.cohort)
	return at
}

// learn remembers what names the entries to come.
func (r *Reader) learn(body event.Body) {
	switch b := body.(type) {
	case event.DeviceEnrolled:
		if r.named == nil {
			r.names.put(b.No, b.Device)
		}
		if b.Device == r.follow {
			r.cohort = b.Cohort
		}
	case event.DeviceMoved:
		if r.follow != "" && r.name(b.No) == r.follow {
			r.cohort = b.Cohort
		}
	}
}

// names are devices' names by number. Numbers are dense and come in order, so they lie one after another; in a part of
// a log they do not begin at 1.
type names struct {
	first uint32
	text  []byte
	ends  []uint32
}

func (n *names) put(no uint32, name string) {
	if len(n.ends) == 0 {
		n.first = no
	}
	if uint64(no) != uint64(n.first)+uint64(len(n.ends)) || len(n.text)+len(name) > 1<<32-1 {
		return // enrolled again, or from elsewhere
	}
	n.text = append(n.text, name...)
	n.ends = append(n.ends, uint32(len(n.text)))
}

// of is the name of a device, or its number in words.
func (n *names) of(no uint32) string {
	if i := int(no) - int(n.first); i >= 0 && i < len(n.ends) && no != 0 {
		from := uint32(0)
		if i > 0 {
			from = n.ends[i-1]
		}
		return string(n.text[from:n.ends[i]])
	}
	return numbered(no)
}

func numbered(no uint32) string { return fmt.Sprintf("#%d", no) }
