package shard

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

// named writes a batch of one reading of each of many metrics.
func (in *inputs) named(at int64, id, prefix string, from, n int) {
	in.tb.Helper()
	in.builder.Reset()
	for i := range n {
		in.builder.SetInt(at, fmt.Sprintf("%s%d", prefix, from+i), 1)
	}
	value, err := in.builder.AppendTo(nil)
	if err != nil {
		in.tb.Fatal(err)
	}
	in.put(Telemetry, Heard{Time: at, Key: []byte(id), Value: value})
}

// A device that floods its partition makes its own records late, and no other's.
func TestAFloodMakesNobodyElseLate(t *testing.T) {
	in := logs(t, 0, 1)
	ids := in.enrol(t0, "one", "", minute, 10)
	in.marks(t0, t0+12*minute, 5_000, "gw")
	for at := t0 + 2*minute; at < t0+8*minute; at += 1_000 {
		for range 30 { // more than may wait
			in.reading(at, ids[0], "flood", 1)
		}
		if at%minute == 25_000 {
			for _, id := range ids[1:] {
				in.reading(at, id, "temp", 1)
				in.report(at, id, event.Device{Type: event.Crash, Fields: map[string]any{"reason": "assert"}})
			}
		}
	}
	in.sorted()
	set := DefaultSettings()
	set.Hold = 400
	s := fresh(t, 0, 1, set)
	told := map[string]uint64{}
	for _, p := range in.all(s) {
		for _, v := range p.Volumes {
			if v.Until == t0+10*minute {
				told[v.Metric] = v.Values
			}
		}
	}
	if c := s.Counts(); told["temp"] != 6*9 || c.Late < 1_000 || told["flood"]+c.Late != 30*60*6 {
		t.Errorf("%v, %+v", told, c)
	}
}

// The share of a device is a function of what waits: a shard that was restored in the middle of a flood says the same.
func TestAFloodIsTheSameAfterARestart(t *testing.T) {
	in := logs(t, 0, 1)
	ids := in.enrol(t0, "one", "", minute, 3)
	in.marks(t0, t0+4*minute, 5_000, "gw")
	for at := t0 + 2*minute; at < t0+3*minute; at += 1_000 {
		for k := range 20 {
			in.reading(at, ids[k%2*k%3], "m", 1)
		}
	}
	in.sorted()
	set := DefaultSettings()
	set.Hold = 400
	want := in.all(fresh(t, 0, 1, set))
	for told := 1; told < len(in.topics[Telemetry])+len(in.topics[Events]); told += 50 {
		old, s := fresh(t, 0, 1, set), fresh(t, 0, 1, set)
		pages := in.play(old, nil, told)
		var kept bytes.Buffer
		if err := old.Snapshot(&kept); err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(&kept); err != nil {
			t.Fatal(err)
		}
		differ(t, append(pages, in.play(s, nil, math.MaxInt)...), want)
	}
}

// Values have no end, and what waits has one.
func TestWhatWaitsHasABoundInBytes(t *testing.T) {
	h := hold{known: census.New(0, 1)}
	value := make([]byte, 4<<20) // the same for all: it is counted, and not there
	n, late := 0, 0
	for d := range 100 {
		for range 10 {
			r := held{at: 1, key: fmt.Appendf(nil, "d%d", d), value: value, form: readings}
			if !h.room(&r, 500_000) {
				late++
				continue
			}
			h.add(r)
			n++
		}
	}
	if h.bytes > holdBytes || n < holdBytes/len(value)*9/10 {
		t.Errorf("%d records wait, %d bytes, and %d are late", n, h.bytes, late)
	}
	if h.until(1); h.bytes != 0 || len(h.all) != 0 || h.shared || h.others != nil {
		t.Errorf("%d bytes are left", h.bytes)
	}
}

// Which names find a place is the same whatever a shard was told before it was restored.
func TestNamesWithoutEndAreTheSameAfterARestart(t *testing.T) {
	in := logs(t, 0, 1)
	bad := in.enrol(t0, "a", "", minute, 1)[0]
	good := in.enrol(t0, "b", "", minute, 1)[0]
	in.marks(t0, t0+15*minute, 5_000, "gw")
	for k := range 280 {
		in.named(t0+2*minute+int64(k), bad, "n", k*250, 250)
	}
	for k := range 4 {
		in.named(t0+4*minute+int64(k), good, "n", k*250, 250) // that were heard of
	}
	for k := range 4 {
		in.named(t0+4*minute+int64(4+k), good, "u", k*250, 250)
	}
	in.sorted()
	set := DefaultSettings()
	want := in.all(fresh(t, 0, 1, set))
	for told := 450; told < 540; told += 11 {
		old, s := fresh(t, 0, 1, set), fresh(t, 0, 1, set)
		pages := in.play(old, nil, told)
		var kept bytes.Buffer
		if err := old.Snapshot(&kept); err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(&kept); err != nil {
			t.Fatal(err)
		}
		differ(t, append(pages, in.play(s, nil, math.MaxInt)...), want)
	}
	named := map[string]int{}
	for _, p := range want {
		value, headers, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := page.Decode(headers, value); err != nil {
			t.Fatal(err)
		}
		if p.Cut != 0 {
			t.Errorf("page %d leaves %d things out: names fill it", p.N, p.Cut)
		}
		for _, v := range p.Volumes {
			if v.Metric != "" {
				named[v.Cohort]++
			}
		}
	}
	if named["a"] == 0 || named["b"] == 0 {
		t.Errorf("%v", named)
	}
}

// A gateway's word about a device is told from the device's own by what the gateway wrote beside it, and by nothing in it.
func TestADeviceGivesNoSignOfAClone(t *testing.T) {
	in := logs(t, 0, 1)
	ids := in.enrol(t0, "one", "", minute, 2)
	in.marks(t0, t0+10*minute, 5_000, "gw")
	sign := []byte("\x82\xa1v\x01\xa6events\x91\x83\xa4type\xaaclone-sign\xa4sign\xackey-conflict\xa4more\x64")
	for k := range int64(20) {
		at := t0 + 3*minute + k*10_000
		in.put(Events, Heard{Time: at, Key: []byte(ids[0]), Value: sign, Type: event.TypeDevice})
		in.put(Telemetry, Heard{Time: at, Key: []byte(ids[0]), Value: sign})
		in.put(Telemetry, Heard{Time: at, Key: []byte(ids[0]), Value: sign, Type: typeSign})
	}
	in.put(Events, Heard{Time: t0 + 4*minute, Key: []byte(ids[1]), Value: sign, Type: typeSign}) // a gateway's
	in.sorted()
	s := fresh(t, 0, 1, DefaultSettings())
	var told []page.Sign
	for _, p := range in.all(s) {
		for _, g := range p.Signs {
			if g.Kind == "clone" {
				told = append(told, g)
			}
		}
	}
	if len(told) != 1 || told[0].ID != ids[1] || s.Counts().Malformed != 40 {
		t.Errorf("%+v, %+v", told, s.Counts())
	}
}

// Two devices under one identity are seen by their messages' numbers: device 0 is two, 1 restarts, 2 has no numbers, and of 3 the
// second's messages come late, out of a store.
func TestTwoSequencesOfOneIdentityAreASign(t *testing.T) {
	in := logs(t, 0, 1)
	ids := in.enrol(t0, "one", "", 15*minute, 4)
	in.marks(t0, t0+3*hour, 5_000, "gw")
	say := func(at, newest int64, id string, boot uint32, seq int64) {
		in.builder.Reset()
		if id != ids[2] {
			in.builder.SetKey(boot, uint64(seq))
		}
		in.builder.SetFloat(newest-minute, "temp_c", 20)
		in.builder.SetFloat(newest, "temp_c", 21)
		value, err := in.builder.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		in.put(Telemetry, Heard{Time: at, Key: []byte(id), Value: value})
	}
	for k := range int64(11) {
		at := t0 + minute + k*15*minute
		for i, id := range ids {
			boot := uint32(1)
			if i == 1 {
				boot = uint32(k / 4)
			}
			say(at, at, id, boot, k)
		}
		other := at + 7*minute
		say(other, other, ids[0], 2, k)
		say(other, other, ids[2], 2, k)
		say(other, other-hour, ids[3], 2, k)
	}
	in.sorted()
	var told []page.Sign
	for _, p := range in.all(fresh(t, 0, 1, DefaultSettings())) {
		for _, g := range p.Signs {
			if g.Kind == "clone" {
				told = append(told, g)
			}
		}
	}
	if len(told) < 5 || told[0].At > t0+45*minute {
		t.Errorf("%+v", told)
	}
	for _, g := range told {
		if g.ID != ids[0] || g.Detail != "two-sequences" {
			t.Errorf("%+v", g)
		}
	}
}
