package projector

import (
	"encoding/json"
	"strings"

	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse/native"
	"muster.dev/proto/event"
	"muster.dev/services/registry/audit"
)

const classType = "Enum8('standard' = 0, 'debug' = 1, 'audit' = 2, 'cold' = 3)"

// form is that of the rows that are written here. A table with rows of a lower one is written anew.
const form = 1

// source is the record that a row is made of.
type source struct {
	gen  *native.Fixed[uint16]
	part *native.Fixed[uint16]
	off  *native.Fixed[uint64]
}

func newSource() source {
	return source{native.UInt16("topic_gen"), native.UInt16("part"), native.UInt64("off")}
}

func (s source) append(gen uint16, off int64) {
	s.gen.Append(gen)
	s.part.Append(0)
	s.off.Append(uint64(off))
}

// deviceBlock is rows of device_rows.
type deviceBlock struct {
	*native.Block
	source
	no, interval, replaces, replacedBy     *native.Fixed[uint32]
	device, serial, attributes             *native.Text
	cohort, profile, region, method, label *native.Dictionary
	issuer, groups                         *native.Dictionary
	class                                  *native.Fixed[int8]
	form                                   *native.Fixed[uint8]
	history, revoked, quarantined          *native.Fixed[bool]
	enrolled, from, until, ended           *native.Fixed[int64]
}

func newDeviceBlock() *deviceBlock {
	b := &deviceBlock{
		source: newSource(),
		no:     native.UInt32("no"), interval: native.UInt32("interval_ms"), replaces: native.UInt32("replaces"), replacedBy: native.UInt32("replaced_by"),
		device: native.String("device"), serial: native.String("serial"), attributes: native.String("attributes"),
		cohort: native.LowCardinality("cohort"), profile: native.LowCardinality("profile"), region: native.LowCardinality("region"),
		method: native.LowCardinality("method"), label: native.LowCardinality("label"), issuer: native.LowCardinality("issuer"), groups: native.LowCardinality("groups"),
		class: native.Enum8("class", classType), form: native.UInt8("form"),
		history: native.Bool("history"), revoked: native.Bool("revoked"), quarantined: native.Bool("quarantined"),
		enrolled: native.DateTime64("enrolled_at"), from: native.DateTime64("not_before"), until: native.DateTime64("not_after"), ended: native.DateTime64("revoked_at"),
	}
	b.Block = native.NewBlock(b.no, b.device, b.cohort, b.class, b.profile, b.region, b.interval, b.history, b.revoked, b.enrolled, b.gen, b.part, b.off,
		b.form, b.method, b.label, b.serial, b.issuer, b.from, b.until, b.quarantined, b.ended, b.replaces, b.replacedBy, b.attributes, b.groups)
	return b
}

// add appends the row of a device as it is in the state. ended is when it was revoked.
func (b *deviceBlock) add(s *roster.State, d roster.Device, ended int64, gen uint16, off int64) {
	profile, _ := s.ProfileAt(d.Profile, s.Rev())
	b.no.Append(d.No)
	b.device.AppendString(string(d.ID))
	b.cohort.AppendString(d.Cohort)
	b.class.Append(int8(d.Class))
	b.profile.AppendString(profile.Name)
	b.region.AppendString(d.Region)
	b.interval.Append(uint32(min(d.Interval.Milliseconds(), 1<<32-1)))
	b.history.Append(d.History)
	b.revoked.Append(d.Revoked)
	b.enrolled.Append(d.EnrolledAt)
	b.form.Append(form)
	b.method.AppendString(d.Method)
	b.label.AppendString(d.Label)
	c := current(d)
	b.serial.AppendString(c.Serial)
	b.issuer.AppendString(c.Issuer)
	b.from.Append(c.NotBefore)
	b.until.Append(c.NotAfter)
	b.quarantined.Append(d.Quarantined)
	if !d.Revoked {
		ended = 0
	}
	b.ended.Append(ended)
	b.replaces.Append(d.Replaces)
	b.replacedBy.Append(d.ReplacedBy)
	b.attributes.AppendString(attributes(d.Attributes))
	b.groups.AppendString(strings.Join(s.GroupsOf(d), ","))
	b.append(gen, off)
}

// current is the certificate that a device is known by: the newest that is good, else the newest.
func current(d roster.Device) roster.Certificate {
	for _, c := range d.Certificates {
		if !c.Revoked {
			return c
		}
	}
	if len(d.Certificates) > 0 {
		return d.Certificates[0]
	}
	return roster.Certificate{}
}

// attributes are a JSON object in the order of keys, or nothing.
func attributes(list []roster.Attribute) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	for i, a := range list {
		b.WriteByte("{,"[min(i, 1)])
		b.Write(text(a.Key))
		b.WriteByte(':')
		b.Write(text(a.Value))
	}
	b.WriteByte('}')
	return b.String()
}

func text(s string) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string has a form as JSON
	}
	return raw
}

// eventBlock is rows of registry_events.
type eventBlock struct {
	*native.Block
	source
	n                          *native.Fixed[uint64]
	time                       *native.Fixed[int64]
	typ, who                   *native.Dictionary
	why, device, subject, body *native.Text
}

func newEventBlock() *eventBlock {
	b := &eventBlock{
		source: newSource(), n: native.UInt64("n"), time: native.DateTime64("time"), typ: native.LowCardinality("type"), who: native.LowCardinality("who"),
		why: native.String("why"), device: native.String("device"), subject: native.String("subject"), body: native.String("body"),
	}
	b.Block = native.NewBlock(b.n, b.time, b.typ, b.who, b.why, b.device, b.subject, b.body, b.gen, b.part, b.off)
	return b
}

func (b *eventBlock) add(e audit.Entry, body event.Body, gen uint16) {
	b.n.Append(e.Event)
	b.time.Append(e.Time.UnixMilli())
	b.typ.AppendString(e.Type)
	b.who.AppendString(e.Who)
	b.why.AppendString(e.Why)
	b.device.AppendString(e.Device)
	b.subject.AppendString(e.Subject)
	if withheld(body) {
		b.body.AppendString("")
	} else {
		b.body.AppendString(string(e.Body))
	}
	b.append(gen, e.Offset)
}

// withheld says of an event whether its body stays in the log: whoever may read the tables need not know what
// a secret's hash is, and certificates are no text.
func withheld(body event.Body) bool {
	switch body.(type) {
	case event.PasswordMade, event.TokenMade, event.ManufacturerTrusted, event.IssuerDefined:
		return true
	}
	return false
}
