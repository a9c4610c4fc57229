package clones

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/proto/identity"
	"muster.dev/services/ingest/sign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func at(address string, key byte) Place {
	return Place{Address: netip.MustParseAddr(address), Serial: strconv.Itoa(int(key)), Key: [32]byte{key}}
}

// send lets messages come from these places, one every step, each on a connection of its own, and gives the signs.
func send(step time.Duration, places ...Place) []sign.Kind {
	w := NewWatch(100)
	var all []sign.Kind
	for i, p := range places {
		kinds, _ := w.Enter("boiler-1", p).Came(start.Add(time.Duration(i) * step))
		all = append(all, kinds...)
	}
	return all
}

func TestTwoPlacesInTurnsAreASignAndOneAfterAnotherIsNot(t *testing.T) {
	a, b, c := at("192.0.2.1", 1), at("192.0.2.2", 1), at("192.0.2.3", 1)
	renewed := at("192.0.2.1", 2)
	for name, x := range map[string]struct {
		step   time.Duration
		places []Place
		want   []sign.Kind
	}{
		"one place":                     {time.Second, []Place{a, a, a, a, a}, nil},
		"a device that moves":           {time.Second, []Place{a, a, b, b, b, c, c}, nil},
		"moves and comes back":          {time.Second, []Place{a, a, b, b, a, a}, nil},
		"in turns":                      {time.Second, []Place{a, b, a, b}, []sign.Kind{sign.TwoAddresses}},
		"in turns, more often":          {time.Second, []Place{a, a, b, a, a, a, b, b}, []sign.Kind{sign.TwoAddresses}},
		"each in its minute":            {50 * time.Second, []Place{a, b, a, b}, []sign.Kind{sign.TwoAddresses}},
		"in turns, over hours":          {time.Hour, []Place{a, b, a, b, a, b, a, b}, nil},
		"a key that is renewed":         {time.Second, []Place{a, a, renewed, renewed}, nil},
		"a key under two certificates":  {time.Second, []Place{a, a, renewed, a, another(renewed)}, []sign.Kind{sign.TwoCertificates}},
		"renewed, one old message left": {time.Second, []Place{a, renewed, a}, nil},
		"two keys in turns":             {time.Second, []Place{a, renewed, a, renewed}, []sign.Kind{sign.TwoCertificates}},
		"another place and another key": {time.Second, []Place{a, at("192.0.2.9", 2), a, at("192.0.2.9", 2)}, []sign.Kind{sign.TwoAddresses, sign.TwoCertificates}},
		"one host's IPv6 addresses":     {time.Second, []Place{at("2001:db8::1", 1), at("2001:db8::2", 1), at("2001:db8::1", 1), at("2001:db8::2", 1)}, nil},
		"two IPv6 networks in turns":    {time.Second, []Place{at("2001:db8::1", 1), at("2001:db8:1::1", 1), at("2001:db8::1", 1), at("2001:db8:1::1", 1)}, []sign.Kind{sign.TwoAddresses}},
	} {
		if got := send(x.step, x.places...); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// another is the same key in another certificate.
func another(p Place) Place {
	p.Serial += "0"
	return p
}

func TestASignNamesBothPlaces(t *testing.T) {
	w := NewWatch(100)
	here, there := w.Enter("boiler-1", at("192.0.2.1", 1)), w.Enter("boiler-1", at("192.0.2.2", 1))
	for i, s := range []*Seat{here, there, here, there} {
		kinds, other := s.Came(start.Add(time.Duration(i) * time.Second))
		if i == 3 && (len(kinds) != 1 || other != here.Place() || s.Place() != there.Place()) {
			t.Errorf("%v %+v", kinds, other)
		}
	}
}

func TestConnectionsOfOnePlaceAreOnePlace(t *testing.T) {
	w := NewWatch(100)
	one, two := w.Enter("boiler-1", at("192.0.2.1", 1)), w.Enter("boiler-1", at("192.0.2.1", 1))
	for i := range 100 {
		for _, s := range []*Seat{one, two} {
			if kinds, _ := s.Came(start.Add(time.Duration(i) * time.Second)); kinds != nil {
				t.Fatal(kinds)
			}
		}
	}
	if one.place != two.place {
		t.Error("each costs more than a comparison")
	}
}

func TestDevicesHaveNothingToDoWithEachOther(t *testing.T) {
	w := NewWatch(100)
	one, two := w.Enter("boiler-1", at("192.0.2.1", 1)), w.Enter("boiler-2", at("192.0.2.2", 2))
	for i := range 10 {
		for _, s := range []*Seat{one, two} {
			if kinds, _ := s.Came(start.Add(time.Duration(i) * time.Second)); kinds != nil {
				t.Fatal(kinds)
			}
		}
	}
}

func TestEachKindIsToldOnceAMinuteAndTheOthersAreCounted(t *testing.T) {
	s := NewWatch(100).Enter("boiler-1", at("192.0.2.1", 1))
	told, more := 0, uint64(0)
	for i := range 121 {
		n, ok := s.Tell(sign.KeyConflict, start.Add(time.Duration(i)*time.Second))
		if ok {
			told++
			more += n
		}
	}
	if told != 3 || more != 118 {
		t.Errorf("told %d times, %d more", told, more)
	}
	if _, ok := s.Tell(sign.SeqBack, start); !ok {
		t.Error("another kind has its own minute")
	}
}

func TestItRemembersSoManyAndNoMore(t *testing.T) {
	w := NewWatch(320)
	for i := range 10_000 {
		w.Enter(identity.Device(fmt.Sprintf("device-%d", i)), at("192.0.2.1", 1))
	}
	if n := w.Devices(); n > 320 || n < 300 {
		t.Errorf("%d are remembered", n)
	}
}

func TestManyConnectionsOfADeviceMayTalkAtOnce(t *testing.T) {
	w := NewWatch(100)
	var wg sync.WaitGroup
	for i := range 8 {
		s := w.Enter("boiler-1", at(fmt.Sprintf("192.0.2.%d", i%2), 1))
		wg.Go(func() {
			for j := range 1_000 {
				now := start.Add(time.Duration(j) * time.Millisecond)
				kinds, _ := s.Came(now)
				for _, k := range kinds {
					s.Tell(k, now)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCame(b *testing.B) {
	s := NewWatch(100).Enter("boiler-1", at("192.0.2.1", 1))
	b.ReportAllocs()
	for b.Loop() {
		if kinds, _ := s.Came(start); kinds != nil {
			b.Fatal(kinds)
		}
	}
}
