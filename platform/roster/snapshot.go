package roster

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/snapshot"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// The sections of a State. Those with other tags are of others who keep something beside it.
const (
	tagHead     = 'H'
	tagCohorts  = 'C'
	tagGroups   = 'G'
	tagRegions  = 'R'
	tagIssuers  = 'I'
	tagProfiles = 'P'
	tagSchemas  = 'S'
	tagTopics   = 'T'
	tagIgnored  = 'X'
	tagDevices  = 'D'
	tagActing   = 'A'
	tagEnd      = 'Z'
)

// snapshotVersion goes up with each kind of event that is folded in: a snapshot of a release that did not know it would
// lack what such events before it said. Whoever meets another version reads the log from its start.
const snapshotVersion = 2

// Frozen is a State as it was, to be written while the State goes on. It may be used beside the State, by one goroutine.
type Frozen struct{ s State }

// Freeze keeps the state as it is now. It costs little: of the devices only what changes afterwards is copied, then.
func (s *State) Freeze() *Frozen {
	f := &Frozen{State{
		n: s.n, prev: s.prev, rev: s.rev, revoked: s.revoked, taken: s.taken,
		cohorts: slices.Clone(s.cohorts), groups: maps.Clone(s.groups), regions: maps.Clone(s.regions), issuers: slices.Clone(s.issuers), acting: maps.Clone(s.acting),
		profiles: map[uint16]*Profile{}, schemas: maps.Clone(s.schemas), topics: maps.Clone(s.topics), ignored: maps.Clone(s.ignored),
	}}
	for no, p := range s.profiles {
		at := *p
		f.s.profiles[no] = &at
	}
	f.s.devices = devices{n: s.devices.n, pieces: slices.Clone(s.devices.pieces)}
	for i := range s.devices.shared {
		s.devices.shared[i] = true
	}
	return f
}

// Last is the number of the last event that is in it.
func (f *Frozen) Last() uint64 { return f.s.n }

// Write writes the sections of the state, from its head to its end.
func (f *Frozen) Write(w *snapshot.Writer) {
	s := &f.s
	w.Section(tagHead, func(b *snapshot.Buffer) {
		b.Uint(snapshotVersion)
		b.Uint(s.n)
		b.Raw(s.prev[:])
		b.Uint(s.rev)
		b.Uint(uint64(s.devices.n))
		t := s.taken
		b.Uint(t.Event)
		b.Int(t.Offset)
		b.Uint(uint64(t.Slot))
		b.Int(t.Start)
		b.Uint(uint64(t.Chunks))
		b.Bytes(t.Sum)
	})
	for part := range slices.Chunk(s.cohorts, cohortsOfSection) {
		w.Section(tagCohorts, func(b *snapshot.Buffer) { writeCohorts(b, part) })
	}
	w.Section(tagGroups, func(b *snapshot.Buffer) {
		b.Uint(uint64(len(s.groups)))
		for _, name := range slices.Sorted(maps.Keys(s.groups)) {
			b.Text(name)
			b.Text(s.groups[name].String())
		}
	})
	w.Section(tagRegions, func(b *snapshot.Buffer) {
		b.Uint(uint64(len(s.regions)))
		for _, name := range slices.Sorted(maps.Keys(s.regions)) {
			b.Text(name)
			b.Text(s.regions[name])
		}
	})
	w.Section(tagIssuers, func(b *snapshot.Buffer) {
		b.Uint(uint64(len(s.issuers)))
		for _, i := range s.issuers {
			b.Text(i.ID)
			b.Bytes(i.Certificate)
			b.Bool(i.Revoked)
		}
	})
	w.Section(tagProfiles, func(b *snapshot.Buffer) {
		b.Uint(uint64(len(s.profiles)))
		for _, no := range slices.Sorted(maps.Keys(s.profiles)) {
			p := s.profiles[no]
			b.Uint(uint64(p.No))
			b.Text(p.Name)
			b.Uint(uint64(p.Class))
			b.Uint(p.Since)
			b.Uint(uint64(len(p.Metrics)))
			for _, m := range p.Metrics {
				b.Text(m.Name)
				b.Uint(uint64(m.Kind))
				b.Uint(uint64(m.Scale))
				b.Uint(m.Since)
			}
		}
	})
	for _, no := range slices.Sorted(maps.Keys(s.schemas)) {
		w.Section(tagSchemas, func(b *snapshot.Buffer) {
			schema := s.schemas[no]
			b.Uint(uint64(schema.No))
			b.Uint(uint64(len(schema.Metrics)))
			for _, m := range schema.Metrics {
				b.Text(m.Name)
				b.Uint(uint64(m.Kind))
				b.Uint(uint64(m.Scale))
			}
		})
	}
	w.Section(tagTopics, func(b *snapshot.Buffer) {
		all := slices.SortedFunc(maps.Values(s.topics), func(a, b Topic) int { return cmp.Compare(a.Gen, b.Gen) })
		b.Uint(uint64(len(all)))
		for _, t := range all {
			b.Text(t.Name)
			b.Raw(t.ID[:])
			b.Uint(uint64(t.Gen))
			b.Int(int64(t.Partitions))
		}
	})
	w.Section(tagIgnored, func(b *snapshot.Buffer) {
		b.Uint(uint64(len(s.ignored)))
		for _, reason := range slices.Sorted(maps.Keys(s.ignored)) {
			b.Text(string(reason))
			b.Uint(s.ignored[reason])
		}
	})
	for from := uint32(0); from < s.devices.n; from += piece {
		for all := range slices.Chunk(s.devices.pieces[from/piece][:min(piece, s.devices.n-from)], devicesOfSection) {
			w.Section(tagDevices, func(b *snapshot.Buffer) { writeDevices(b, all) })
		}
	}
	for part := range slices.Chunk(s.grants(), agentsOfSection) {
		w.Section(tagActing, func(b *snapshot.Buffer) { writeActing(b, part) })
	}
	w.Section(tagEnd, func(*snapshot.Buffer) {})
}

// The largest device that the log can say has 7 KB, most of it attributes, the largest cohort 400 bytes: a section stays
// below what one may have (platform/snapshot) whatever operators write, else there would be no snapshot any more.
const (
	devicesOfSection = 1024
	cohortsOfSection = 10_000
)

func writeCohorts(b *snapshot.Buffer, all []Cohort) {
	b.Uint(uint64(len(all)))
	for _, c := range all {
		b.Text(c.Name)
		b.Int(int64(c.Interval))
		b.Text(c.Region)
		b.Bool(c.Revoked)
		b.Bool(c.Quarantined)
		b.Uint(uint64(len(c.Sleep)))
		for _, sleep := range c.Sleep {
			b.Uint(uint64(sleep.Days))
			b.Uint(uint64(sleep.From))
			b.Uint(uint64(sleep.To))
		}
	}
}

// writeDevices writes all texts first, as one: a reader has them as one string, and not millions.
func writeDevices(b *snapshot.Buffer, all []stored) {
	var texts []byte
	for i := range all {
		d := &all[i]
		texts = append(append(append(append(texts, d.ID...), d.Region...), d.Method...), d.Label...)
		for _, a := range d.Attributes {
			texts = append(append(texts, a.Key...), a.Value...)
		}
		for _, c := range d.Certificates {
			texts = append(append(texts, c.Serial...), c.Issuer...)
		}
	}
	b.Bytes(texts)
	b.Uint(uint64(len(all)))
	for i := range all {
		d := &all[i]
		for _, text := range []string{string(d.ID), d.Region, d.Method, d.Label} {
			b.Uint(uint64(len(text)))
		}
		b.Uint(uint64(d.cohort))
		b.Int(int64(d.Interval))
		b.Uint(uint64(d.Profile))
		b.Uint(uint64(d.Class))
		b.Uint(flags(d.History, d.Revoked, d.Quarantined))
		b.Uint(uint64(d.Replaces))
		b.Uint(uint64(d.ReplacedBy))
		b.Int(d.EnrolledAt)
		b.Raw(d.SPKI[:])
		b.Uint(uint64(len(d.Attributes)))
		for _, a := range d.Attributes {
			b.Uint(uint64(len(a.Key)))
			b.Uint(uint64(len(a.Value)))
		}
		b.Uint(uint64(len(d.Certificates)))
		for _, c := range d.Certificates {
			b.Uint(uint64(len(c.Serial)))
			b.Uint(uint64(len(c.Issuer)))
			b.Raw(c.SPKI[:])
			b.Raw(c.CSR[:])
			b.Int(c.NotBefore)
			b.Int(c.NotAfter)
			b.Uint(flags(c.Revoked, c.Legacy))
		}
	}
}

func flags(all ...bool) (v uint64) {
	for i, is := range all {
		if is {
			v |= 1 << i
		}
	}
	return v
}

// maxHint bounds the room that is made for devices before they are seen.
const maxHint = 1 << 21

// ReadState reads what Frozen.Write wrote, and hands sections that are not the state's to other, which may be nil. Whether
// what it read is to be believed, the caller finds out (see platform/snapshot). It never panics, whatever it reads.
func ReadState(r *snapshot.Reader, other func(tag byte, payload *snapshot.Cursor) error) (*State, error) {
	l := loader{s: NewState()}
	for {
		tag, c, err := r.Next()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it has no end", snapshot.ErrDamaged)
		}
		if err != nil {
			return nil, err
		}
		if tag == tagEnd {
			break
		}
		read, ok := sections[tag]
		switch {
		case ok:
			read(&l, c)
			if err = c.Done(); err == nil {
				err = l.err
			}
		case other != nil:
			err = other(tag, c)
		}
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", tag, err)
		}
	}
	if l.s.devices.n != l.devices || l.s.n == 0 {
		return nil, fmt.Errorf("%w: it has %d devices and should have %d", snapshot.ErrDamaged, l.s.devices.n, l.devices)
	}
	return l.s, nil
}

type loader struct {
	s       *State
	devices uint32
	// cohortless says that the first of all cohorts was read, which has no name.
	cohortless bool
	scratch    []Certificate
	err        error
}

func (l *loader) refuse(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("%w: %w", snapshot.ErrDamaged, fmt.Errorf(format, args...))
	}
}

var sections = map[byte]func(*loader, *snapshot.Cursor){
	tagHead: (*loader).head, tagCohorts: (*loader).cohorts, tagGroups: (*loader).groups, tagRegions: (*loader).regions, tagIssuers: (*loader).issuers,
	tagProfiles: (*loader).profiles, tagSchemas: (*loader).schemas, tagTopics: (*loader).topics, tagIgnored: (*loader).ignored, tagDevices: (*loader).piece,
	tagActing: (*loader).acting,
}

func (l *loader) head(c *snapshot.Cursor) {
	s := l.s
	if v := c.Uint(); v != snapshotVersion {
		l.refuse("version %d", v)
	}
	s.n, s.prev, s.rev = c.Uint(), c.Hash(), c.Uint()
	l.devices = uint32(c.Uint())
	s.taken = event.SnapshotTaken{Event: c.Uint(), Offset: c.Int(), Slot: uint8(c.Uint()), Start: c.Int(), Chunks: uint32(c.Uint()), Sum: c.Bytes()}
	room := min(l.devices, maxHint)
	s.ids, s.serials = make(map[identity.Device]uint32, room), make(map[string]uint32, room)
}

func (l *loader) cohorts(c *snapshot.Cursor) {
	for range c.Count(6) {
		cohort := Cohort{Name: c.Text(), Interval: time.Duration(c.Int()), Region: l.s.intern(c.Text()), Revoked: c.Bool(), Quarantined: c.Bool()}
		for range c.Count(3) {
			cohort.Sleep = append(cohort.Sleep, Sleep{Days: uint8(c.Uint()), From: uint16(c.Uint()), To: uint16(c.Uint())})
		}
		if !l.cohortless {
			if cohort.Name != "" {
				l.refuse("its first cohort has a name")
			}
			l.s.cohorts[0], l.cohortless = cohort, true
			continue
		}
		if _, twice := l.s.places[cohort.Name]; twice {
			l.refuse("cohort %q is there twice", cohort.Name)
			return
		}
		l.s.places[cohort.Name] = uint32(len(l.s.cohorts))
		l.s.cohorts = append(l.s.cohorts, cohort)
	}
}

func (l *loader) groups(c *snapshot.Cursor) {
	for range c.Count(2) {
		name, text := c.Text(), c.Text()
		selector, err := ParseSelector(text)
		if err != nil {
			l.refuse("group %q: %w", name, err)
			return
		}
		l.s.groups[name] = selector
	}
}

func (l *loader) regions(c *snapshot.Cursor) {
	for range c.Count(2) {
		name := c.Text()
		l.s.regions[name] = c.Text()
	}
}

func (l *loader) issuers(c *snapshot.Cursor) {
	for range c.Count(3) {
		l.s.issuers = append(l.s.issuers, Issuer{ID: c.Text(), Certificate: c.Bytes(), Revoked: c.Bool()})
	}
}

func (l *loader) profiles(c *snapshot.Cursor) {
	for range c.Count(5) {
		p := &Profile{No: uint16(c.Uint()), Name: c.Text(), Class: uint8(c.Uint()), Since: c.Uint()}
		for range c.Count(4) {
			p.Metrics = append(p.Metrics, Metric{Name: c.Text(), Kind: batch.Kind(c.Uint()), Scale: uint8(c.Uint()), Since: c.Uint()})
		}
		l.s.profiles[p.No] = p
	}
}

func (l *loader) schemas(c *snapshot.Cursor) {
	schema := Schema{No: uint32(c.Uint())}
	n := c.Count(3)
	schema.Metrics = make([]SchemaMetric, n)
	for i := range n {
		schema.Metrics[i] = SchemaMetric{Name: c.Text(), Kind: batch.Kind(c.Uint()), Scale: uint8(c.Uint())}
	}
	l.s.schemas[schema.No] = schema
}

func (l *loader) topics(c *snapshot.Cursor) {
	for range c.Count(19) {
		t := Topic{Name: c.Text()}
		copy(t.ID[:], c.Raw(16))
		t.Gen, t.Partitions = uint16(c.Uint()), int32(c.Int())
		l.s.topics[t.ID] = t
	}
}

func (l *loader) ignored(c *snapshot.Cursor) {
	for range c.Count(2) {
		reason := Reason(c.Text())
		l.s.ignored[reason] = c.Uint()
	}
}

// leastDevice and leastCertificate are the bytes that one has at least.
const (
	leastDevice      = 46
	leastCertificate = 69
)

func (l *loader) piece(c *snapshot.Cursor) {
	s := l.s
	texts := c.Text()
	text := func(n uint64) string {
		if n > uint64(len(texts)) {
			l.refuse("a text is longer than what is there")
			return ""
		}
		t := texts[:n]
		texts = texts[n:]
		return t
	}
	n := c.Count(leastDevice)
	certificates := l.scratch[:0] // of all devices of the piece, one after the other
	type part struct{ from, to int }
	parts := make([]part, 0, n)
	first := s.devices.n
	for range n {
		lengths := [4]uint64{c.Uint(), c.Uint(), c.Uint(), c.Uint()}
		d := stored{Device: Device{No: s.devices.n + 1}}
		d.ID = identity.Device(text(lengths[0]))
		d.Region, d.Method, d.Label = s.intern(text(lengths[1])), s.intern(text(lengths[2])), s.intern(text(lengths[3]))
		d.cohort, d.Interval, d.Profile, d.Class = uint32(c.Uint()), time.Duration(c.Int()), uint16(c.Uint()), uint8(c.Uint())
		f := c.Uint()
		d.History, d.Revoked, d.Quarantined = f&1 != 0, f&2 != 0, f&4 != 0
		d.Replaces, d.ReplacedBy, d.EnrolledAt = uint32(c.Uint()), uint32(c.Uint()), c.Int()
		d.SPKI = c.Hash()
		if n := c.Count(2); n > 0 {
			d.Attributes = make([]Attribute, n)
			for i := range n {
				key, value := c.Uint(), c.Uint()
				d.Attributes[i] = Attribute{s.intern(text(key)), s.intern(text(value))}
			}
		}
		from := len(certificates)
		for range c.Count(leastCertificate) {
			serial, issuer := c.Uint(), c.Uint()
			has := Certificate{Serial: text(serial), Issuer: s.intern(text(issuer)), SPKI: c.Hash(), CSR: c.Hash(), NotBefore: c.Int(), NotAfter: c.Int()}
			f := c.Uint()
			has.Revoked, has.Legacy = f&1 != 0, f&2 != 0
			certificates = append(certificates, has)
		}
		parts = append(parts, part{from, len(certificates)})
		if c.Err() != nil || l.err != nil {
			return
		}
		if _, twice := s.ids[d.ID]; twice || int(d.cohort) >= len(s.cohorts) || s.devices.n >= l.devices {
			l.refuse("device %d, %q of cohort %d, cannot be", d.No, d.ID, d.cohort)
			return
		}
		s.ids[d.ID] = d.No
		s.devices.add(d)
		if d.Revoked {
			s.revoked++
		} else {
			s.cohorts[d.cohort].Devices++
		}
	}
	l.scratch = certificates
	certificates = append(make([]Certificate, 0, len(certificates)), certificates...)
	for i, p := range parts {
		d := s.devices.edit(first + uint32(i) + 1)
		if p.from < p.to {
			d.Certificates = certificates[p.from:p.to:p.to]
		}
		for _, has := range d.Certificates {
			s.index(has, d.No)
		}
	}
}

// Fold folds a record in, as ApplyRecord, for who goes on from a snapshot: its error says that the record is no link of
// the chain.
func (s *State) Fold(rec *kgo.Record) error {
	_, err := s.ApplyRecord(rec)
	return NoLink(err)
}

// NoLink is err if it says that a record is no link of the chain, and nil if the record is one of which only what it says
// was ignored.
func NoLink(err error) error {
	if reason := reasonOf(err); err != nil && (reason == Chain || reason == Decode) {
		return err
	}
	return nil
}
