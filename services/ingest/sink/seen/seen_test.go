package seen_test

import (
	"math/rand/v2"
	"testing"

	"muster.dev/services/ingest/sink/seen"
)

type message struct {
	device, boot uint32
	seq          uint64
}

// The model is the ledger itself: a set. The cache may say Ask of anything,
// but New only of what is not in the set, and Stored only of what is.
func TestTheCacheNeverContradictsTheLedger(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, bound := range []int{3, 1000} {
		ledger := map[message]bool{}
		s := seen.NewState(bound)
		for i := range 20_000 {
			m := message{device: rng.Uint32N(4), boot: rng.Uint32N(2)}
			top := uint64(i) / 10
			switch rng.Uint32N(200) {
			case 0, 2, 3, 4, 5, 6, 7, 8:
				m.seq = rng.Uint64N(top + 1) // any time ago
			case 1:
				m.seq = top + rng.Uint64N(3000) // a jump
			default:
				m.seq = top + rng.Uint64N(50)
			}
			switch s.Check(m.device, m.boot, m.seq) {
			case seen.New:
				if ledger[m] {
					t.Fatalf("step %d: %+v is stored, the cache says New", i, m)
				}
			case seen.Stored:
				if !ledger[m] {
					t.Fatalf("step %d: %+v is not stored, the cache says Stored", i, m)
				}
			case seen.Ask:
				if !s.Knows(m.device, m.boot) {
					high, found := highest(ledger, m.device, m.boot)
					s.Adopt(m.device, m.boot, high, found)
				}
			}
			if !ledger[m] {
				ledger[m] = true
				s.Add(m.device, m.boot, m.seq)
			}
			if rng.Uint32N(5_000) == 0 {
				s = rebuild(rng, ledger, bound)
			}
		}
		if s.Len() > bound {
			t.Errorf("%d boots remembered, the bound is %d", s.Len(), bound)
		}
	}
}

// rebuild is what a new owner of the partition does: it loads one range of the ledger after another.
func rebuild(rng *rand.Rand, ledger map[message]bool, bound int) *seen.State {
	ranges := make([]map[message]bool, 1+rng.IntN(4))
	for m := range ledger {
		at := rng.IntN(len(ranges))
		if ranges[at] == nil {
			ranges[at] = map[message]bool{}
		}
		ranges[at][m] = true
	}
	s := seen.NewState(bound)
	for _, r := range append(ranges, ranges[0]) { // the first once more, as after an answer that broke off
		load(s, r)
	}
	return s
}

func load(s *seen.State, ledger map[message]bool) {
	type boot struct{ device, boot uint32 }
	high := map[boot]uint64{}
	for m := range ledger {
		b := boot{m.device, m.boot}
		high[b] = max(high[b], m.seq)
	}
	stored := map[boot]*[seen.Width / 64]uint64{}
	for m := range ledger {
		b := boot{m.device, m.boot}
		if back := high[b] - m.seq; back < seen.Width {
			if stored[b] == nil {
				stored[b] = new([seen.Width / 64]uint64)
			}
			stored[b][back/64] |= 1 << (back % 64)
		}
	}
	for b, h := range high {
		s.Load(b.device, b.boot, h, stored[b])
	}
}

func highest(ledger map[message]bool, device, boot uint32) (high uint64, found bool) {
	for m := range ledger {
		if m.device == device && m.boot == boot {
			high, found = max(high, m.seq), true
		}
	}
	return high, found
}

func TestADeviceThatCountsInOrderIsNeverAskedFor(t *testing.T) {
	s := seen.NewState(10)
	for seq := range uint64(5000) {
		if v := s.Check(1, 1, seq); v != seen.New {
			t.Fatalf("seq %d: got %v, want New", seq, v)
		}
		s.Add(1, 1, seq)
		if back := seq - min(seq, seen.Width-1); s.Check(1, 1, back) != seen.Stored {
			t.Fatalf("seq %d is not remembered at %d", back, seq)
		}
	}
}

func TestABootThatWasForgottenIsAskedFor(t *testing.T) {
	s := seen.NewState(1)
	s.Add(1, 1, 5)
	s.Add(2, 1, 5) // pushes device 1 out
	if v := s.Check(1, 1, 5); v != seen.Ask {
		t.Errorf("got %v, want Ask", v)
	}
	if s.Knows(1, 1) {
		t.Error("a boot that was pushed out is said to be known")
	}
	s.Adopt(1, 1, 5, true)
	for seq, want := range map[uint64]seen.Verdict{4: seen.Ask, 5: seen.Ask, 6: seen.New} {
		if v := s.Check(1, 1, seq); v != want {
			t.Errorf("seq %d: got %v, want %v", seq, v, want)
		}
	}
	s.Adopt(3, 1, 0, false)
	if v := s.Check(3, 1, 0); v != seen.New {
		t.Errorf("a boot of which nothing is stored: got %v, want New", v)
	}
}

func TestABootThatFindsNoRoomIsAskedForAndPushesNoYoungerOneOut(t *testing.T) {
	s := seen.NewState(1)
	bit := &[seen.Width / 64]uint64{1}
	s.Load(1, 1, 9, bit) // the youngest range
	s.Load(2, 1, 4, bit)
	s.Load(1, 1, 5, bit) // an older one
	for seq, want := range map[uint64]seen.Verdict{5: seen.Stored, 6: seen.New, 9: seen.Stored, 10: seen.New} {
		if v := s.Check(1, 1, seq); v != want {
			t.Errorf("seq %d: got %v, want %v", seq, v, want)
		}
	}
	if v := s.Check(2, 1, 5); v != seen.Ask || s.Knows(2, 1) {
		t.Errorf("the boot without room: %v", v)
	}
}

func TestTheHighestSequenceNumbersFit(t *testing.T) {
	const top = 1<<53 - 1
	s := seen.NewState(10)
	s.Add(1, 1, 0)
	s.Add(1, 1, top)
	for seq, want := range map[uint64]seen.Verdict{0: seen.Ask, top: seen.Stored, top - 1: seen.New, top - 1023: seen.New, top - 1024: seen.Ask} {
		if v := s.Check(1, 1, seq); v != want {
			t.Errorf("seq %d: got %v, want %v", seq, v, want)
		}
	}
}

func BenchmarkAFreshMessage(b *testing.B) {
	s := seen.NewState(1 << 20)
	b.ReportAllocs()
	for i := range b.N {
		device, seq := uint32(i%10_000), uint64(i/10_000)
		if s.Check(device, 1, seq) != seen.New {
			b.Fatal("not new")
		}
		s.Add(device, 1, seq)
	}
}
