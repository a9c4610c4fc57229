package silence

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

func TestADeviceTakes40Bytes(t *testing.T) {
	if n := unsafe.Sizeof(device{}); n != 40 {
		t.Errorf("a device takes %d bytes", n)
	}
}

func TestPlannedSleepIsNoSilence(t *testing.T) {
	w := newTown(t, 2)
	night := event.Sleep{Days: 127, From: 22 * 60, To: 6 * 60}
	all := w.settle("garden", "", 30, 5*min1, night)
	asleep := func() bool { h := (w.now - w.begin) / hourMS % 24; return h >= 22 || h < 6 }
	for range 4 * 24 {
		for _, p := range all {
			p.off = asleep()
		}
		w.pass(hourMS)
	}
	w.nothing("it sleeps each night")
	if n := w.cohorts.byName["garden"].b.slots; n > 4*16*12 {
		t.Errorf("%d slots were decided, more than it was awake", n)
	}
	for _, p := range all {
		p.off = true // and does not wake up
	}
	w.pass(6 * hourMS)
	w.nothing("it should be asleep")
	w.pass(hourMS)
	if got := w.one(); got.Count != 30 {
		t.Errorf("it is about %d", got.Count)
	}
}

func TestANewIntervalOfACohortIsNoSilence(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("north", "", 40, min1)
	w.pass(3 * hourMS)
	w.registry(event.CohortDefined{Cohort: "north", Interval: 10 * min1})
	for _, p := range all {
		p.every = 10 * min1
	}
	w.pass(6 * hourMS)
	w.nothing("the registry says that it is slower")
	off(all[:30])
	w.pass(hourMS)
	w.one()
}

func TestDevicesThatAreSlowerThanTheRegistrySaysAreLearnt(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("north", "", 40, min1)
	w.pass(3 * hourMS)
	for _, p := range all[:20] {
		p.every = 5 * min1
	}
	w.pass(3 * hourMS)
	told := w.opened() // for some minutes nobody can know
	if len(told) > 1 || len(told) == 1 && w.last(told[0].ID).State != event.IncidentResolved {
		t.Errorf("%d incidents, and still after three hours", len(told))
	}
	w.pass(24 * hourMS)
	if len(w.opened()) != len(told) {
		t.Errorf("%d incidents, %d of them at first", len(w.opened()), len(told))
	}
	for _, p := range all[:20] {
		if v := w.of(p).device(p.index); v.every != 5*min1 {
			t.Fatalf("a device that is heard each five minutes is expected each %d ms", v.every)
		}
		p.every = min1
	}
	w.pass(hourMS)
	for _, p := range all {
		if v := w.of(p).device(p.index); v.every != min1 {
			t.Fatalf("a device that is heard each minute again is expected each %d ms", v.every)
		}
	}
}

func TestAClockInTheFutureHidesNoSilence(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("north", "", 40, min1)
	w.pass(3 * hourMS)
	for _, p := range all {
		w.of(p).Heard(p.index, w.now+52*weekMS)
	}
	w.pass(step)
	off(all)
	w.pass(10 * min1)
	w.one()
}

func TestADeviceIsCountedWhereItIs(t *testing.T) {
	w := newTown(t, 1)
	a, b := w.settle("a", "west", 10, min1), w.settle("b", "east", 10, min1)
	w.pass(10 * min1)
	w.registry(event.DeviceMoved{No: a[0].no, Cohort: "b"})
	w.registry(event.DeviceQuarantined{No: a[1].no, On: true})
	w.registry(event.DeviceRevoked{No: b[0].no})
	w.pass(10 * min1)
	members := func() map[string]uint32 {
		got := map[string]uint32{}
		for _, s := range w.shards[0].Cut(w.now + min1) {
			got[s.Cohort+"/"+s.Region] = s.Members
		}
		w.now += min1
		return got
	}
	if got, want := members(), (map[string]uint32{"a/west": 8, "b/east": 10}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	w.registry(event.DeviceQuarantined{No: a[1].no, On: false})
	w.registry(event.CohortDefined{Cohort: "b", Interval: min1, Region: "north"})
	w.pass(10 * min1)
	if got, want := members(), (map[string]uint32{"a/west": 9, "b/north": 10}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	w.nothing("devices come and go")
}

// rough is a fleet in which everything happens, at random.
func rough(t *testing.T, shards int, again func(cut int) bool) *town {
	r := rand.New(rand.NewPCG(7, 11))
	w := newTown(t, shards)
	all := append(append(w.settle("north", "west", 30, min1), w.settle("south", "west", 12, 20*sec)...), w.settle("buoy", "", 2, min1)...)
	all = append(all, w.settle("east", "east", 40, min1)...)
	revoked := map[int]bool{}
	for k := range 400 {
		w.again = again(k)
		for range 20 {
			i := r.IntN(len(all))
			if revoked[i] {
				continue
			}
			p := all[i]
			switch r.IntN(40) {
			case 0:
				p.off = true
			case 1, 2, 3, 4, 5:
				p.off = false
			case 6:
				w.of(p).Boot(p.index, w.now, "power_on")
			case 7:
				w.of(p).Battery(p.index, w.now, float64(r.IntN(30)), "battery_pct")
			case 8:
				w.of(p).Radio(p.index, w.now, -float64(60+r.IntN(60)))
			case 9:
				w.of(p).Updated(p.index, w.now)
			}
		}
		switch {
		case k >= 60 && k < 80:
			off(all[:25])
		case k == 100:
			on(all)
		case k == 120:
			w.out(false, "west", w.now, 0)
		case k == 130:
			w.out(false, "west", w.now-10*min1, w.now)
		case k == 150:
			off(all)
		case k == 170, k == 340:
			on(all)
		case k >= 310 && k < 330:
			off(all[42:])
		case k%20 == 3:
			if i := r.IntN(len(all)); !revoked[i] {
				revoked[i] = true
				w.registry(event.DeviceRevoked{No: all[i].no})
			}
		}
		w.pass(min1)
	}
	return w
}

func TestNothingDependsOnHowDevicesAreSpreadOverShards(t *testing.T) {
	never := func(int) bool { return false }
	one := rough(t, 1, never)
	if len(one.opened()) < 3 {
		t.Fatalf("only %d incidents: nothing is shown", len(one.opened()))
	}
	for _, n := range []int{2, 4} {
		if other := rough(t, n, never); !reflect.DeepEqual(one.signals, other.signals) {
			t.Errorf("%d shards: %d signals, one shard: %d; or they are not the same", n, len(other.signals), len(one.signals))
		}
	}
}

func TestNothingDependsOnARestart(t *testing.T) {
	one := rough(t, 2, func(int) bool { return false })
	for name, again := range map[string]func(int) bool{
		"at each cut": func(int) bool { return true }, "now and then": func(k int) bool { return k%7 == 2 },
	} {
		if other := rough(t, 2, again); !reflect.DeepEqual(one.signals, other.signals) {
			t.Errorf("restarted %s: %d signals, else %d; or they are not the same", name, len(other.signals), len(one.signals))
		}
	}
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	var first []byte
	for range 2 {
		w := rough(t, 1, func(int) bool { return false })
		var b bytes.Buffer
		out := state.NewWriter(&b)
		if err := w.shards[0].Snapshot(out); err != nil {
			t.Fatal(err)
		}
		if err := w.cohorts.Snapshot(out); err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, b.Bytes()) {
			t.Error("two runs of the same remember different things")
		}
		first = b.Bytes()
	}
}

func TestOfVeryManyTheLeastIDsAreNamed(t *testing.T) {
	w := newTown(t, 1)
	all := w.settle("north", "", 5_500, min1)
	w.pass(10 * min1)
	off(all)
	var named []page.Gone
	for range 12 {
		w.now += 15 * sec
		for _, s := range w.shards[0].Cut(w.now) {
			if len(s.Gone) > page.MaxDevices {
				t.Fatalf("%d are named in a slot", len(s.Gone))
			}
			for i := 1; i < len(s.Gone); i++ {
				if s.Gone[i-1].ID >= s.Gone[i].ID {
					t.Fatal("they are not in order")
				}
			}
			named = append(named, s.Gone...)
		}
	}
	if len(named) < page.MaxDevices {
		t.Errorf("%d of 5,500 were named", len(named))
	}
	index := make([]int32, 0, len(all))
	for _, p := range all {
		index = append(index, p.index)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(index), func(a, b int) { index[a], index[b] = index[b], index[a] })
	for i, got := range w.shards[0].first(index, 100) {
		if id := w.census[0].Device(got).ID; id != fmt.Sprintf("north-%04d", i) {
			t.Fatalf("place %d is %s", i, id)
		}
	}
}

func TestACensusOfLessCannotRestoreWhatWasLearntOfMore(t *testing.T) {
	w := newTown(t, 1)
	w.settle("north", "", 5, min1)
	w.pass(min1)
	var b bytes.Buffer
	if err := w.shards[0].Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	if err := NewDevices(census.New(0, 1), DefaultSettings()).Restore(&b); err == nil {
		t.Error("devices that nobody knows were restored")
	}
}

func FuzzRestore(f *testing.F) {
	w := newTown(&testing.T{}, 1)
	off(w.settle("north", "west", 6, 10*sec)[:3])
	w.settle("buoy", "", 1, 10*sec)
	w.pass(min1)
	var d, c bytes.Buffer
	if w.shards[0].Snapshot(&d) != nil || w.cohorts.Snapshot(&c) != nil {
		f.Fatal("no snapshot")
	}
	f.Add(d.Bytes())
	f.Add(c.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		_ = NewDevices(w.census[0], DefaultSettings()).Restore(bytes.NewReader(p))
		c := NewCohorts(DefaultSettings())
		if c.Restore(bytes.NewReader(p)) != nil {
			return
		}
		// A number may be written longer than it need be: what is written of what was read is the same for ever.
		var once, twice bytes.Buffer
		if err := c.Snapshot(&once); err != nil {
			t.Fatal(err)
		}
		again := NewCohorts(DefaultSettings())
		if err := again.Restore(bytes.NewReader(once.Bytes())); err != nil {
			t.Fatalf("what was restored and written cannot be restored: %v", err)
		}
		if err := again.Snapshot(&twice); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("what was restored is not what was written: %v", err)
		}
	})
}
