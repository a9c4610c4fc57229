package shard

import "muster.dev/services/anomaly/silence"

// trait is what the name of a metric says of it.
type trait uint8

const (
	battery trait = 1 << iota
	radio
)

func traitOf(metric string) (t trait) {
	if silence.IsBattery(metric) {
		t = battery
	}
	if silence.IsRadio(metric) {
		t |= radio
	}
	return t
}

// metric is what is known of a name. Those of one place in a batch are mostly the same from batch to batch: then nothing
// need be looked up.
type metric struct {
	name   string
	id     int32 // from 1; 0: there are too many names
	trait  trait
	wanted bool // by a rollout; good until the next cut
}

// maxNames bounds the names that are remembered until the next cut.
const maxNames = 65_536

// metric finds a name that stands at a place.
func (s *State) metric(place int, name []byte) *metric {
	for place >= len(s.columns) {
		s.columns = append(s.columns, metric{})
	}
	m := &s.columns[place]
	if m.name == string(name) {
		return m
	}
	if id := s.names[string(name)]; id > 0 {
		*m = s.known[id-1]
		return m
	}
	*m = metric{name: string(name), trait: traitOf(string(name)), wanted: !s.set.Off.Update && s.arms.Wants(name)}
	if len(s.known) < maxNames {
		m.id = int32(len(s.known) + 1)
		s.known = append(s.known, *m)
		s.names[m.name] = m.id
	}
	return m
}

// tally is what a cohort said of a metric since the last cut; without a name, of all of them.
type tally struct {
	cohort, id    int32
	name          string
	values, bytes int
	at            int32 // where the meter counted it the last time
}

// tallied finds tallies by cohort and name. It is asked for each metric of each record, and what a cohort's devices say has a
// handful of names.
type tallied struct {
	few  [][]cell // by cohort, by id
	many map[tallyKey]*cell
}

// cell is 1 + the place of a tally, or 0; at outlives it.
type cell struct{ tally, at int32 }

type tallyKey struct{ cohort, id int32 }

const fewNames = 64

func (t *tallied) of(cohort, id int32) *cell {
	if id >= fewNames {
		at := t.many[tallyKey{cohort, id}]
		if at == nil {
			if t.many == nil {
				t.many = map[tallyKey]*cell{}
			}
			at = &cell{}
			t.many[tallyKey{cohort, id}] = at
		}
		return at
	}
	for int(cohort) >= len(t.few) {
		t.few = append(t.few, nil)
	}
	of := t.few[cohort]
	for int(id) >= len(of) {
		of = append(of, cell{})
		t.few[cohort] = of
	}
	return &of[id]
}

// clear forgets the tallies that there are.
func (t *tallied) clear(all []tally) {
	for i := range all {
		if of := &all[i]; of.id < fewNames {
			t.few[of.cohort][of.id] = cell{at: of.at}
		}
	}
	t.many = nil
}

// count adds to a tally. The meter is told once a cut, in the order in which they began.
func (s *State) count(cohort, id int32, name string, values, bytes int) {
	if id == 0 && len(name) > 0 {
		s.meter.Add(cohort, bytesOf(name), values, bytes, s.due)
		return
	}
	c := s.tallied.of(cohort, id)
	if c.tally == 0 {
		s.tallies = append(s.tallies, tally{cohort: cohort, id: id, name: name, at: c.at})
		c.tally = int32(len(s.tallies))
	}
	t := &s.tallies[c.tally-1]
	t.values += values
	t.bytes += bytes
}

func (s *State) tellTallies() {
	for i := range s.tallies {
		t := &s.tallies[i]
		t.at = s.meter.AddAt(t.at, t.cohort, t.name, t.values, t.bytes)
	}
	// Names begin anew with each cut: whether there is room for one must not hang on what a shard heard before it was restored.
	clear(s.names)
	clear(s.known)
	s.known = s.known[:0]
	s.tallied.clear(s.tallies)
	clear(s.tallies)
	s.tallies = s.tallies[:0]
	s.columns = s.columns[:0]
}
