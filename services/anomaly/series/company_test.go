package series

import (
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

// departed is a finding of a series that left its own place, in a shard with so many peers.
func departed(device int, peers uint32, at int64, way int64) page.Finding {
	f := finding("jump", "temperature", device, at)
	f.Reporting, f.Value = peers, f.Usual+way*6e6
	return f
}

func TestWhoFallsWithItsPeersInOtherShardsIsNoIncidentOfItsOwn(t *testing.T) {
	all := event.Subject{Cohort: "north", Metric: "temperature"}
	for _, c := range []struct {
		name   string
		crowd  int64 // way of the median of a shard of five; 0: it is not told
		alone  []int // devices in shards of few
		others []int // in shards of four and more
		after  int64
		own    bool
		peers  bool
	}{
		{"a median of five of twelve and one more", -1, []int{2}, []int{4, 9}, 0, false, true},
		{"the same, and the others later", -1, []int{2}, nil, 25 * minute, false, true},
		{"a median that went the other way", 1, []int{2}, nil, 0, true, false},
		{"a median that went long before", -1, []int{2}, nil, 5 * hour, true, false},
		{"a weekend that the medians know", 0, []int{2}, []int{4, 5, 9, 10, 12}, 0, false, false},
		{"one alone", 0, []int{2}, []int{4}, 0, true, false},
		{"most of those that no shard has peers for", 0, []int{1, 2, 3, 4, 5}, nil, 0, false, true},
	} {
		p, open, ever := NewPeers(DefaultSettings()), map[event.Subject]incident.Signal{}, map[event.Subject]incident.Signal{}
		at := begins + day
		cut := func(findings ...page.Finding) {
			signals := p.Cut(at, findings)
			openOf(open, signals)
			for s, signal := range open {
				ever[s] = signal
			}
			at += 5 * minute
		}
		cut(count("north", "temperature", 0, 12))
		first := at
		crowd := departed(0, 5, first, c.crowd)
		crowd.ID, crowd.No = "", 0
		var told []page.Finding
		if c.crowd != 0 {
			told = append(told, crowd)
		}
		for _, d := range c.others {
			told = append(told, departed(d, 5, first+5*minute, -1))
		}
		cut(told...)
		for at < first+c.after {
			cut()
		}
		for _, d := range c.alone {
			f := departed(d, 1, at, -1)
			told = append(told, f)
			cut(f)
		}
		for range 8 {
			cut()
		}
		own := false
		for s, signal := range ever {
			own = own || s.Device != "" && strings.Contains(signal.Why, "peers do not")
		}
		if s, peers := ever[all]; own != c.own || peers != c.peers || peers && s.Cause != incident.CausePeers {
			t.Errorf("%s: %+v", c.name, ever)
		}
		for _, f := range told {
			cut(ended(f, at))
		}
		if len(open)+len(p.suspects)+p.items != 0 {
			t.Errorf("%s: %v is left", c.name, open)
		}
	}
}

// What comes so late that its bucket was not held against the others' says nothing of one of them: all of them did it.
func TestWhatComesLateIsNotToldAsUnusualOfOne(t *testing.T) {
	for _, late := range []bool{false, true} {
		w, d := &watch{}, &Detector{n: 2_000}
		w.weeks = 5
		for no := int32(1); no <= 500; no++ {
			w.confirm(no, .01*float64(no%3-1), 0, d)
		}
		w.hint = hint{no: 501, score: .4, off: .2}
		if !late {
			w.confirm(501, .2, 0, d)
		}
		w.confirm(502, .2, 0, d)
		if w.is(unusual) == late {
			t.Errorf("late: %v, told: %v", late, w.is(unusual))
		}
	}
}
