package series

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
)

func count(cohort, metric string, was, is uint32) page.Finding {
	return page.Finding{Kind: Series, Cohort: cohort, Metric: metric, Reporting: is, Usual: int64(was) * 1e6}
}

func finding(kind, metric string, device int, at int64) page.Finding {
	return page.Finding{Kind: kind, Cohort: "north", Metric: metric, ID: fmt.Sprintf("d-%04d", device), No: uint32(device), At: at, Score: 600_000, Value: 26_400_000, Usual: 21_000_000, Reporting: 8}
}

func ended(f page.Finding, at int64) page.Finding {
	f.Over, f.At = true, at
	return f
}

// openOf follows signals as a book does: what is open, by subject.
func openOf(open map[event.Subject]incident.Signal, signals []incident.Signal) {
	for _, s := range signals {
		if s.Over {
			delete(open, s.Subject)
		} else {
			open[s.Subject] = s
		}
	}
}

func TestOneDeviceUnlikeItsPeersIsOneIncidentWhateverItsMetricsDo(t *testing.T) {
	p := NewPeers(DefaultSettings())
	at := begins
	if s := p.Cut(at, []page.Finding{count("north", "temperature", 0, 8), count("north", "temperature", 0, 22), count("north", "humidity", 0, 30),
		finding("unlike-peers", "temperature", 3, at-hour)}); len(s) != 0 {
		t.Fatalf("its peers had no time to follow: %+v", s)
	}
	open := map[event.Subject]incident.Signal{}
	openOf(open, p.Cut(at+settleMS, nil))
	subject := event.Subject{Cohort: "north", Metric: "temperature", Device: "d-0003"}
	s, there := open[subject]
	if !there || s.Cause != incident.CauseDevice || s.Severity != event.SeverityWarning || s.Since != at-hour || s.Count != 1 || s.Devices[0].ID != "d-0003" ||
		s.Title != "temperature of d-0003 has left its place among its peers" || s.Why != "temperature has left its place among its peers (26.4, usually 21); its peers do not" {
		t.Fatalf("%+v", open)
	}
	if s.Numbers[len(s.Numbers)-1] != (event.Number{Name: "series", Micro: 30e6}) {
		t.Errorf("%+v", s.Numbers)
	}
	// Another metric of it joins, and the incident ends with the last of them.
	openOf(open, p.Cut(at+hour, []page.Finding{finding("flat-line", "humidity", 3, at)}))
	if s := open[subject]; len(open) != 1 || !strings.HasSuffix(s.Why, "; also: temperature") || s.Title != "humidity of d-0003 says the same for longer than it ever did" {
		t.Fatalf("%+v", open)
	}
	openOf(open, p.Cut(at+2*hour, []page.Finding{ended(finding("unlike-peers", "temperature", 3, at), at)}))
	if len(open) != 1 {
		t.Fatalf("%+v", open)
	}
	openOf(open, p.Cut(at+2*hour, []page.Finding{ended(finding("flat-line", "humidity", 3, at), at)}))
	if len(open) != 0 || len(p.suspects) != 0 || p.items != 0 {
		t.Fatalf("%+v %+v", open, p.suspects)
	}
}

func TestAllPeersTogetherAreOneIncident(t *testing.T) {
	p := NewPeers(DefaultSettings())
	open := map[event.Subject]incident.Signal{}
	openOf(open, p.Cut(begins, []page.Finding{count("north", "temperature", 0, 30)}))
	// They come over half an hour, and two are told before.
	at := begins
	for d := range 28 {
		at = begins + hour + int64(d)*minute
		openOf(open, p.Cut(at, []page.Finding{finding("jump", "temperature", d, begins+hour), finding("unusual", "temperature", d, begins+int64(d)*hour)}))
	}
	all := event.Subject{Cohort: "north", Metric: "temperature"}
	if s := open[all]; len(open) != 1 || s.Cause != incident.CausePeers || s.Count != 28 || len(s.Devices) != 28 || s.Title != "temperature of north has jumped, in all its devices alike" {
		t.Fatalf("%+v", open)
	}
	// A device that goes flat besides is in it; most come back, and it ends.
	for d := range 27 {
		at += minute
		openOf(open, p.Cut(at, []page.Finding{ended(finding("jump", "temperature", d, at), at), ended(finding("unusual", "temperature", d, at), at)}))
	}
	if _, still := open[all]; still {
		t.Fatalf("%+v", open)
	}
	openOf(open, p.Cut(at+hour, []page.Finding{ended(finding("jump", "temperature", 27, at), at), ended(finding("unusual", "temperature", 27, at), at)}))
	if len(open)+len(p.suspects)+p.items != 0 {
		t.Fatalf("%+v %+v", open, p.suspects)
	}
}

func TestSomeThatChangeAtTheSameTimeAreOneIncident(t *testing.T) {
	p := NewPeers(DefaultSettings())
	open := map[event.Subject]incident.Signal{}
	told := []page.Finding{count("north", "temperature", 0, 40)}
	for d := range 4 {
		told = append(told, finding("rate", "temperature", d, begins+int64(d)*minute))
	}
	openOf(open, p.Cut(begins+hour, told))
	if len(open) != 0 {
		t.Fatalf("before it is known that it is not all of them: %+v", open)
	}
	openOf(open, p.Cut(begins+hour+settleMS, nil))
	if s := open[event.Subject{Cohort: "north", Metric: "temperature"}]; len(open) != 1 || s.Cause != incident.CauseDevice || s.Count != 4 || s.Title != "temperature of 4 devices of north comes at another rate" {
		t.Fatalf("%+v", open)
	}
}

func TestWhoLeavesTheSameWaySoonAfterIsToldOfWithTheFirst(t *testing.T) {
	p, open := NewPeers(DefaultSettings()), map[event.Subject]incident.Signal{}
	down := func(d int, at int64) page.Finding {
		f := finding("unlike-peers", "rssi", d, at)
		f.Value = 1e6
		return f
	}
	cut := func(at int64, told ...page.Finding) { openOf(open, p.Cut(at, told)) }
	first := event.Subject{Cohort: "north", Metric: "rssi", Device: "d-0003"}
	cut(begins, count("north", "rssi", 0, 40), down(3, begins))
	cut(begins + settleMS)
	cut(begins+hour, down(1, begins+hour), down(9, begins+hour-2*minute))
	if s := open[first]; len(open) != 1 || s.Count != 3 || len(s.Devices) != 3 || s.Title != "rssi of d-0003 and 2 more has left its place among its peers" || s.Since != begins {
		t.Fatalf("%+v", open)
	}
	// Who goes the other way, or comes much later, is another matter.
	up := finding("unlike-peers", "rssi", 5, begins+hour)
	cut(begins+hour, up)
	cut(begins+joinMS+2*hour, down(7, begins+joinMS+hour))
	cut(begins + joinMS + 2*hour + settleMS)
	if len(open) != 3 || open[first].Count != 3 {
		t.Fatalf("%+v", open)
	}
	// The first is well again, and the others are not.
	at := begins + 6*hour
	cut(at, ended(down(3, begins), at), ended(down(1, begins), at))
	if s := open[first]; s.Count != 1 || s.Devices[0].ID != "d-0009" || !slices.Equal(s.Back, []uint32{1, 3}) {
		t.Fatalf("%+v", open)
	}
	cut(at, ended(down(9, begins), at), ended(up, at), ended(down(7, begins), at))
	if len(open)+len(p.suspects)+p.items != 0 {
		t.Fatalf("%+v %+v", open, p.suspects)
	}
}

func TestMoreRowsThatAreAMatterOfCostsAreNoSecondIncident(t *testing.T) {
	for _, metric := range []string{"vibration", ""} {
		costs := []incident.Signal{{Kind: event.Spend, Subject: event.Subject{Cohort: "north", Metric: metric}}}
		over := []incident.Signal{costs[0]}
		over[0].Over = true
		fast := func(d int) page.Finding { return finding("rate", "vibration", d, begins) } // 26.4 rows, usually 21
		slow := finding("rate", "vibration", 9, begins)
		slow.Value = 1e6
		p, open := NewPeers(DefaultSettings()), map[event.Subject]incident.Signal{}
		cut := func(at int64, told ...page.Finding) { openOf(open, p.Cut(at, told)) }
		// One is told already, four more come with the costs, and one has fewer rows.
		cut(begins, count("north", "vibration", 0, 40), fast(0))
		cut(begins+settleMS, fast(1), fast(2), slow)
		if len(open) != 1 {
			t.Fatalf("%+v", open)
		}
		p.Explain(costs)
		cut(begins+settleMS, fast(3), fast(4))
		cut(begins + 2*settleMS)
		cut(begins + 3*settleMS)
		if _, ok := open[event.Subject{Cohort: "north", Metric: "vibration", Device: "d-0009"}]; !ok || len(open) != 1 {
			t.Fatalf("%q: %+v", metric, open)
		}
		// The rows outlast the costs a little.
		p.Explain(over)
		cut(begins + 4*settleMS)
		if len(open) != 1 {
			t.Fatalf("%q: %+v", metric, open)
		}
		for d := range 5 {
			cut(begins+hour, ended(fast(d), begins+hour))
		}
		cut(begins+hour, ended(slow, begins+hour), count("north", "vibration", 40, 0))
		if len(open)+len(p.suspects)+len(p.companies)+p.items != 0 {
			t.Errorf("%q: %+v %+v %+v", metric, open, p.suspects, p.companies)
		}
	}
}

func TestMediansOfShardsThatMoveAreAnIncidentOfAll(t *testing.T) {
	p, open := NewPeers(DefaultSettings()), map[event.Subject]incident.Signal{}
	crowd := finding("jump", "temperature", 0, begins)
	crowd.ID, crowd.No, crowd.Reporting = "", 0, 8
	openOf(open, p.Cut(begins, []page.Finding{count("north", "temperature", 0, 30), crowd}))
	if len(open) != 0 {
		t.Fatalf("one shard of four: %+v", open)
	}
	openOf(open, p.Cut(begins+minute, []page.Finding{crowd, finding("unlike-peers", "temperature", 3, begins)}))
	if s := open[event.Subject{Cohort: "north", Metric: "temperature"}]; len(open) != 1 || s.Cause != incident.CausePeers || s.Count != 16 || s.Since != begins {
		t.Fatalf("%+v", open)
	}
	openOf(open, p.Cut(begins+hour, []page.Finding{ended(finding("unlike-peers", "temperature", 3, begins), begins+hour)}))
	openOf(open, p.Cut(begins+hour, []page.Finding{ended(crowd, begins+hour)}))
	if len(open) != 1 {
		t.Fatalf("%+v", open)
	}
	openOf(open, p.Cut(begins+hour, []page.Finding{ended(crowd, begins+hour)}))
	if len(open) != 0 {
		t.Fatalf("%+v", open)
	}
}

func TestWhatMovesWithItsPeersIsNoIncidentOfItsOwn(t *testing.T) {
	p := NewPeers(DefaultSettings())
	p.Cut(begins, []page.Finding{count("north", "temperature", 0, 30), finding("jump", "temperature", 1, begins), finding("drift", "temperature", 2, begins)})
	if s := p.Cut(begins+hour, nil); len(s) != 0 {
		t.Errorf("%+v", s)
	}
	// Without peers to compare with, it is one.
	alone := finding("jump", "temperature", 1, begins)
	alone.Reporting, alone.Cohort = 1, "one"
	if s := p.Cut(begins+hour, []page.Finding{count("one", "temperature", 0, 1), alone}); len(s) != 1 {
		t.Errorf("%+v", s)
	}
	weak := finding("unusual", "temperature", 7, begins)
	weak.Score = 299_999
	if s := p.Cut(begins+2*hour, []page.Finding{weak}); len(s) != 0 || p.items != 3 {
		t.Errorf("below the threshold: %+v", s)
	}
}

// days of a cohort in which all kinds of things befall it.
func days(seed uint64) func(i int) (int64, []page.Finding) {
	dice := rand.New(rand.NewPCG(seed, 5))
	kinds := []string{"unusual", "flat-line", "noise", "jump", "drift", "rate", "unlike-peers"}
	open := map[string]page.Finding{}
	return func(i int) (int64, []page.Finding) {
		at := begins + int64(i)*5*minute
		var out []page.Finding
		if i == 0 {
			out = append(out, count("north", "m0", 0, 12), count("north", "m1", 0, 12))
		}
		limit := 14
		if i%100 > 50 {
			limit = 0
		}
		told, least := map[string]bool{}, ""
		for range dice.IntN(6) {
			f := finding(kinds[dice.IntN(len(kinds))], fmt.Sprintf("m%d", dice.IntN(2)), dice.IntN(12), at)
			if dice.IntN(3) == 0 {
				f.Reporting = 2
			}
			key := f.Kind + f.Metric + f.ID
			for k := range open {
				if len(open) > limit && (least == "" || k < least) {
					least = k
				}
			}
			if o, there := open[least]; there && !told[least] {
				told[least] = true
				delete(open, least)
				out = append(out, ended(o, at))
			}
			if told[key] {
				continue
			}
			told[key] = true
			if o, there := open[key]; there {
				delete(open, key)
				out = append(out, ended(o, at))
			} else if len(open) < limit {
				open[key] = f
				out = append(out, f)
			}
		}
		return at, out
	}
}

func TestPeersRestoredAtAnyCutGoOnTheSameInAnyOrderOfShards(t *testing.T) {
	const cuts = 400
	p := NewPeers(DefaultSettings())
	next := days(3)
	var told [][]incident.Signal
	var inputs [][]page.Finding
	kept := make([][]byte, cuts)
	causes := map[string]int{}
	for i := range cuts {
		at, f := next(i)
		inputs = append(inputs, f)
		told = append(told, p.Cut(at, f))
		for _, s := range told[i] {
			causes[s.Cause+fmt.Sprint(s.Over)]++
		}
		var out bytes.Buffer
		if err := p.Snapshot(&out); err != nil {
			t.Fatal(err)
		}
		kept[i] = out.Bytes()
	}
	if len(causes) < 4 {
		t.Errorf("the days are not eventful: %v", causes)
	}
	for from := 7; from < cuts; from += 31 {
		r := NewPeers(DefaultSettings())
		if err := r.Restore(bytes.NewReader(kept[from])); err != nil {
			t.Fatal(err)
		}
		for i := from + 1; i < cuts; i++ {
			f := slices.Clone(inputs[i])
			slices.Reverse(f) // one series is told once a cut here
			if got := r.Cut(begins+int64(i)*5*minute, f); !reflect.DeepEqual(got, told[i]) {
				t.Fatalf("restored at %d, cut %d: %+v, and before %+v", from, i, got, told[i])
			}
		}
		var out bytes.Buffer
		if err := r.Snapshot(&out); err != nil || !bytes.Equal(out.Bytes(), kept[cuts-1]) {
			t.Errorf("restored at %d, the end is another (%v)", from, err)
		}
	}
	for _, n := range []int{0, 9, len(kept[200]) / 2, len(kept[200]) - 1} {
		if NewPeers(DefaultSettings()).Restore(bytes.NewReader(kept[200][:n])) == nil {
			t.Errorf("the first %d bytes of a snapshot are read as one", n)
		}
	}
}
