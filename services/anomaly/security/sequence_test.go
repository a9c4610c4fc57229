package security

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/incident"
)

// sender is one that sends under the identity of device 7, as a device does.
type sender struct {
	boot  uint32
	seq   uint64
	every int64
	next  int64
	skew  int64 // of its clock
}

// turn sends what is due in a minute.
func (s *site) turn(at int64, all ...*sender) {
	for {
		var first *sender
		for _, x := range all {
			if x.next < at+minute && (first == nil || x.next < first.next) {
				first = x
			}
		}
		if first == nil {
			return
		}
		s.watch.Message(7, first.next, first.boot, first.seq, first.next+first.skew)
		first.seq++
		first.next += first.every
	}
}

func TestAMarkTakes12Bytes(t *testing.T) {
	if n := unsafe.Sizeof(mark{}); n != 12 {
		t.Errorf("a mark takes %d bytes", n)
	}
}

func TestTwoSequencesThatBothGoOnAreACloneHoweverSeldomTheySend(t *testing.T) {
	for _, every := range []int64{10_000, 5 * minute, 15 * minute, 30 * minute, hour} {
		for name, clone := range map[string]sender{"another boot": {boot: 9}, "the same boot, behind": {boot: 3, seq: 40}, "the same boot, ahead": {boot: 3, seq: 5_000}} {
			for _, fork := range []bool{false, true} {
				if fork && every != 15*minute {
					continue
				}
				s := open(t)
				s.fork = fork
				begin := s.now
				own := &sender{boot: 3, seq: 100, every: every, next: begin}
				clone.every, clone.next = every, begin+3*hour+every/3
				if said := s.until(begin+3*hour, func(at int64) { s.turn(at, own) }); len(said) > 0 {
					t.Fatalf("%s, each %d s: a device alone is told: %+v", name, every/1_000, said[0])
				}
				other := clone
				said := s.until(begin+3*hour+max(20*minute, 5*every), func(at int64) { s.turn(at, own, &other) })
				if n, _ := count(said, incident.CauseClone); n == 0 {
					t.Errorf("%s, each %d s: it is not told", name, every/1_000)
					continue
				}
				if x := said[0]; x.Subject != (event.Subject{Cohort: "c", Device: "d7"}) || x.Severity != event.SeverityCritical || x.At < begin+3*hour+overlap || x.At > begin+3*hour+max(13*minute, 3*every+minute) {
					t.Errorf("%s, each %d s: %+v", name, every/1_000, x)
				}
				if every > hour/2 {
					continue
				}
				if _, over := count(s.until(s.now+4*hour, func(at int64) { s.turn(at, own, &other) }), incident.CauseClone); over != 0 {
					t.Errorf("%s, each %d s: it is over while both go on", name, every/1_000)
				}
				if _, over := count(s.until(s.now+4*hour, func(at int64) { s.turn(at, own) }), incident.CauseClone); over != 1 {
					t.Errorf("%s, each %d s: it is over %d times", name, every/1_000, over)
				}
			}
		}
	}
}

func TestThreeOfOneIdentityAreToldToo(t *testing.T) {
	s := open(t)
	begin := s.now
	all := []*sender{{boot: 3, every: 15 * minute, next: begin}, {boot: 4, every: 15 * minute, next: begin + 5*minute}, {boot: 5, every: 15 * minute, next: begin + 10*minute}}
	if n, _ := count(s.until(begin+hour, func(at int64) { s.turn(at, all...) }), incident.CauseClone); n == 0 {
		t.Error("nothing is said")
	}
}

// Each of these is what one device does, once in a while or all the time.
func TestWhatOneDeviceDoesIsNoClone(t *testing.T) {
	const every = 5 * minute
	r := rand.New(rand.NewPCG(5, 5))
	lost := func() bool { return r.IntN(5) == 0 }
	for name, play := range map[string]func(s *site, n int, at int64){
		"it restarts each hour": func(s *site, n int, at int64) {
			s.watch.Message(7, at, uint32(n/12), uint64(n%12), at)
		},
		"each message is of a boot of its own": func(s *site, n int, at int64) {
			s.watch.Message(7, at, r.Uint32(), 0, at)
		},
		"its boot is always 0, its counter begins anew, and messages are lost": func(s *site, n int, at int64) {
			if !lost() {
				s.watch.Message(7, at, 0, uint64(n%150), at)
			}
		},
		"it has two images that count for themselves": func(s *site, n int, at int64) {
			if !lost() {
				s.watch.Message(7, at, uint32(n/40%2), uint64(n%40), at)
			}
		},
		"a backup is restored now and then": func(s *site, n int, at int64) {
			if !lost() {
				s.watch.Message(7, at, 4, uint64(n-n/100*60), at)
			}
		},
		"what lay in its store comes after what is new, of the boot before too": func(s *site, n int, at int64) {
			boot, k := uint32(n/24), n%24
			s.watch.Message(7, at, boot, uint64(k), at)
			for old := range k / 2 {
				s.watch.Message(7, at+1_000, boot-1, uint64(20+old), at-int64(k)*every+int64(old)*1_000)
				s.watch.Message(7, at+2_000, boot, uint64(old), at-int64(k-old)*every)
			}
		},
		"messages come twice, and in another order": func(s *site, n int, at int64) {
			for _, k := range []int{n + 2, n, n + 1, n} {
				s.watch.Message(7, at, 4, uint64(k), at+int64(k-n)*1_000)
			}
		},
		"its clock steps back and forth": func(s *site, n int, at int64) {
			s.watch.Message(7, at, uint32(n/30), uint64(n%30), at+r.Int64N(2*liveFor)-liveFor)
		},
		"its clock is wrong by years": func(s *site, n int, at int64) {
			s.watch.Message(7, at, uint32(n%2), uint64(n), at-30*365*day)
			s.watch.Message(7, at, uint32(n%3), uint64(n), at+30*365*day)
		},
		"somebody tries something out under its identity": func(s *site, n int, at int64) {
			s.watch.Message(7, at, 4, uint64(n), at)
			s.watch.Message(7, at+minute, uint32(at/1_000), 0, at+minute)
		},
		"an old program goes on for a while beside the new one": func(s *site, n int, at int64) {
			boot := uint32(n / 40)
			s.watch.Message(7, at, boot, uint64(n%40)+10, at)
			if n%40 == 0 && n > 0 {
				for k := range int64(16) {
					s.watch.Message(7, at+10_000*(2*k+1), boot-1, uint64(60+k), at+10_000*(2*k+1))
					s.watch.Message(7, at+10_000*(2*k+2), boot, uint64(11+k), at+10_000*(2*k+2))
				}
			}
		},
	} {
		s := open(t)
		n := 0
		for _, x := range s.until(s.now+7*day, func(at int64) {
			if at%every == 0 {
				play(s, n, at)
				n++
			}
		}) {
			t.Errorf("%s: %+v", name, x)
			break
		}
	}
}

func TestNewestReadingsFarFromWhenTheyCameTeachNothing(t *testing.T) {
	w := NewWatch(fleet(t, 50), DefaultSettings())
	for _, newest := range []int64{-1, 10*day - liveFor - 1, 10*day + liveFor + 1} {
		w.Message(7, 10*day, 1, 1, newest)
	}
	if len(w.seqs.marks) != 0 {
		t.Errorf("%+v", w.seqs.marks)
	}
}

func TestTanglesAreBoundedAndThoseThatTakeTurnsAreKept(t *testing.T) {
	s := open(t)
	s.watch = NewWatch(fleet(t, maxTangles+100), DefaultSettings())
	begin := s.now
	own, clone := &sender{boot: 3, every: 15 * minute, next: begin}, &sender{boot: 9, every: 15 * minute, next: begin + 7*minute}
	said := s.until(begin+2*hour, func(at int64) {
		s.turn(at, own, clone)
		if at%(30*minute) == 0 { // all others restart
			for i := range int32(maxTangles + 100) {
				if i != 7 {
					s.watch.Message(i, at, uint32(at/minute), 0, at)
				}
			}
		}
	})
	if q := &s.watch.seqs; len(q.line) != maxTangles || len(q.tangles) != maxTangles {
		t.Errorf("%d devices are in the line, %d have more than one sequence", len(q.line), len(q.tangles))
	}
	if n, _ := count(said, incident.CauseClone); n == 0 || said[0].Subject.Device != "d7" {
		t.Errorf("%d signals", n)
	}
	if said := s.until(s.now+2*day, nil); len(s.watch.seqs.line) != 0 || len(s.watch.seqs.tangles) != 0 {
		t.Errorf("%d devices have more than one sequence after two days: %d signals", len(s.watch.seqs.line), len(said))
	}
	for i, word := range s.watch.seqs.tangled {
		if word != 0 {
			t.Fatalf("devices from %d on are still marked: %x", 64*i, word)
		}
	}
}

// Sequences of random devices are written and read again at any time, and the same is told.
func TestSequencesAreTheSameAfterARestart(t *testing.T) {
	play := func(fork bool) []incident.Signal {
		s, r := open(t), rand.New(rand.NewPCG(8, 8))
		s.fork = fork
		return s.until(s.now+6*hour, func(at int64) {
			for range 20 {
				s.watch.Message(r.Int32N(20), at+r.Int64N(minute), uint32(r.IntN(3)), uint64(at/minute)*uint64(1+r.IntN(2)), at+r.Int64N(minute))
			}
		})
	}
	want := play(false)
	if len(want) == 0 {
		t.Fatal("nothing is said")
	}
	if got := play(true); !reflect.DeepEqual(got, want) {
		t.Errorf("%d signals, want %d", len(got), len(want))
	}
}

func BenchmarkMessage(b *testing.B) {
	const devices = 10_000
	w := NewWatch(fleet(b, devices), DefaultSettings())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		at := 10*day + int64(n/devices)*minute
		w.Message(int32(n%devices), at, 1, uint64(n/devices), at)
		n++
	}
	if len(w.seqs.marks) != min(n, devices) || len(w.seqs.line) != 0 {
		b.Fatal(fmt.Sprint(len(w.seqs.marks), " marks, ", len(w.seqs.line), " devices with more than one sequence"))
	}
}
