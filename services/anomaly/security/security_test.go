package security

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/incident"
	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state/statetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden is the value of a gateway's sign as the gateway's own tests have it: the wire is what both keep to.
const golden = "82a17601a66576656e7473918da27473cf0000019cece52687a474797065aa636c6f6e652d7369676ea761646472657373a93139322e302e322e37a4626f6f7407ab6365727469666963617465a23166a767617465776179a9676174657761792d31a8686967685f736571cd1389a46d6f726503ad6f746865725f61646472657373ac3139382e35312e3130302e39b16f746865725f6365727469666963617465a23265a373657165a47369676ea87365712d6261636ba673747265616da974656c656d65747279"

func value(t testing.TB) []byte {
	t.Helper()
	p, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withKind(t testing.TB, kind string) []byte {
	p := value(t)
	at := bytes.Index(p, []byte("\xa8seq-back"))
	return slices.Concat(p[:at], []byte{0xa0 | byte(len(kind))}, []byte(kind), p[at+9:])
}

func TestASignIsReadAsTheGatewayWroteIt(t *testing.T) {
	if s, ok := decode(value(t)); !ok || s.kind != seqBack || s.more != 3 {
		t.Errorf("%+v %v", s, ok)
	}
	for _, kind := range []string{twoAddresses, twoCertificates, keyConflict, otherName} {
		if s, ok := decode(withKind(t, kind)); !ok || s.kind != kind {
			t.Errorf("%s: %+v %v", kind, s, ok)
		}
	}
	for name, p := range map[string][]byte{
		"nothing": nil, "cut short": value(t)[:100], "another kind": withKind(t, "sunspots"), "no map": {0x90},
		"another version": bytes.Replace(value(t), []byte("\xa1v\x01"), []byte("\xa1v\x02"), 1),
		"another event":   bytes.Replace(value(t), []byte("clone-sign"), []byte("clone-sigh"), 1),
	} {
		if s, ok := decode(p); ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func FuzzSign(f *testing.F) {
	f.Add(value(f))
	f.Add(withKind(f, otherName))
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, ok := decode(p); ok && (s.kind == "" || s.more > maxMore) {
			t.Errorf("%+v", s)
		}
	})
}

// fleet is a census of devices in cohort c, enrolled at 0.
func fleet(t testing.TB, devices int) *census.State {
	t.Helper()
	s := census.New(0, 1)
	var prev [32]byte
	for i := range devices {
		v, headers, err := event.Registry{N: uint64(i + 1), Prev: prev, Body: event.DeviceEnrolled{Device: fmt.Sprintf("d%d", i), No: uint32(i + 1), Cohort: "c"}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		prev = event.Chain(v)
		if _, err := s.Apply(census.Record{Offset: int64(i), Headers: headers, Value: v}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// site is both parts, cut each minute.
type site struct {
	t     *testing.T
	watch *Watch
	judge *Judge
	now   int64
	said  []incident.Signal
	fork  bool // both parts are written and read again at each cut
}

func open(t *testing.T) *site {
	return &site{t: t, watch: NewWatch(fleet(t, 50), DefaultSettings()), judge: NewJudge(DefaultSettings()), now: 10 * day}
}

// until plays minutes.
func (s *site) until(at int64, do func(minute int64)) []incident.Signal {
	s.said = nil
	for ; s.now < at; s.now += minute {
		if do != nil {
			do(s.now)
		}
		if s.fork {
			s.again()
		}
		s.said = append(s.said, s.judge.Cut(s.now+minute, s.watch.Tick(s.now+minute))...)
	}
	return s.said
}

func (s *site) again() {
	s.t.Helper()
	w, j := NewWatch(s.watch.census, s.watch.set), NewJudge(s.judge.set)
	statetest.Copy(s.t, s.watch, w)
	statetest.Copy(s.t, s.judge, j)
	s.watch, s.judge = w, j
}

func count(signals []incident.Signal, cause string) (open, over int) {
	for _, s := range signals {
		switch {
		case s.Cause != cause:
		case s.Over:
			over++
		default:
			open++
		}
	}
	return open, over
}

func TestSignsThatNoNetworkExplainsAreAClone(t *testing.T) {
	s := open(t)
	begin := s.now
	said := s.until(begin+hour, func(at int64) {
		if at == begin || at == begin+20*minute {
			s.watch.Sign(7, at, withKind(t, keyConflict)) // with three more each
		}
	})
	if n, _ := count(said, incident.CauseClone); n == 0 {
		t.Fatal("nothing is said")
	}
	first := said[0]
	if first.Subject != (event.Subject{Cohort: "c", Device: "d7"}) || first.Since != begin || first.Severity != event.SeverityCritical || first.Count != 1 || first.Kind != event.Security {
		t.Errorf("%+v", first)
	}
	if _, over := count(s.until(begin+4*hour, nil), incident.CauseClone); over != 1 {
		t.Errorf("it is over %d times", over)
	}
}

func TestASignOrTwoAreNoClone(t *testing.T) {
	s := open(t)
	one := bytes.Replace(withKind(t, seqBack), []byte("\xa4more\x03"), []byte("\xa4more\x00"), 1)
	if said := s.until(s.now+2*day, func(at int64) {
		if at%(6*hour) < 2*minute { // a backup is restored now and then
			s.watch.Sign(3, at, one)
		}
		if at%(40*minute) == 0 { // and another changes its network
			s.watch.Sign(4, at, withKind(t, twoAddresses))
		}
	}); len(said) > 0 {
		t.Errorf("%+v", said[0])
	}
}

func TestADeviceThatComesToBeAtTwoAddressesIsTold(t *testing.T) {
	s := open(t)
	begin := s.now
	said := s.until(begin+6*hour, func(at int64) {
		if at%(5*minute) == 0 {
			s.watch.Sign(9, at, withKind(t, twoAddresses))
		}
	})
	if n, _ := count(said, incident.CauseClone); n == 0 || said[0].At > begin+2*hour || said[0].Severity != event.SeverityWarning {
		t.Errorf("%d signals", n)
	}
}

func TestADeviceThatHasAlwaysHadTwoNetworksIsNot(t *testing.T) {
	s := open(t)
	s.now = 0
	if said := s.until(2*day, func(at int64) {
		if at%(5*minute) == 0 {
			s.watch.Sign(9, at, withKind(t, twoAddresses))
		}
	}); len(said) > 0 {
		t.Errorf("%+v", said[0])
	}
}

func TestManyDevicesAtTwoAddressesAreOneCause(t *testing.T) {
	s := open(t)
	begin := s.now
	said := s.until(begin+6*hour, func(at int64) {
		if at%(5*minute) == 0 {
			for i := range int32(20) {
				s.watch.Sign(i, at, withKind(t, twoAddresses))
			}
		}
	})
	subjects := map[event.Subject]bool{}
	for _, x := range said {
		subjects[x.Subject] = true
	}
	if len(subjects) != 1 || !subjects[event.Subject{Cohort: "c"}] {
		t.Errorf("%v", subjects)
	}
	s.said = nil
	if _, over := count(s.until(begin+12*hour, nil), incident.CauseClone); over != 1 {
		t.Errorf("it is over %d times", over)
	}
}

func TestRevokedDevicesThatGoOnKnockingAreToldOncePerRegion(t *testing.T) {
	s := open(t)
	begin, refused := s.now, uint64(1_000)
	mark := func(at int64) {
		for _, g := range []string{"g1", "g2"} { // on both topics
			for range 2 {
				s.watch.Mark(at, event.Watermark{Gateway: g, Region: "eu", Time: at, Refused: map[string]uint64{"revoked": refused, "too-large": 7 * refused}})
			}
		}
	}
	if said := s.until(begin+hour, mark); len(said) > 0 {
		t.Fatalf("what was before is told: %+v", said[0])
	}
	begin = s.now
	said := s.until(begin+3*hour, func(at int64) {
		if at%(5*minute) == 0 {
			refused++
		}
		mark(at)
	})
	n, _ := count(said, incident.CauseKnocking)
	if n == 0 || said[0].Subject != (event.Subject{Region: "eu"}) || said[0].At > begin+hour || n > 20 {
		t.Fatalf("%d signals: %+v", n, said)
	}
	if _, over := count(s.until(s.now+3*hour, mark), incident.CauseKnocking); over != 1 {
		t.Errorf("it is over %d times", over)
	}
	refused = 0 // the gateway was started anew
	if said := s.until(s.now+hour, mark); len(said) > 0 {
		t.Errorf("%+v", said[0])
	}
}

func TestAKnockOrTwoIsNothing(t *testing.T) {
	s := open(t)
	refused := uint64(0)
	if said := s.until(s.now+2*day, func(at int64) {
		if at%hour < 3*minute {
			refused += 4 // a dozen an hour, all at once
		}
		s.watch.Mark(at, event.Watermark{Gateway: "g1", Time: at, Refused: map[string]uint64{"revoked": refused}})
	}); len(said) > 0 {
		t.Errorf("%+v", said[0])
	}
}

func TestAttemptsAtTheRegistryCountOnceWhateverTheShards(t *testing.T) {
	j := NewJudge(DefaultSettings())
	attempt := page.Sign{Kind: kindKnocking, Detail: whereRegistry, At: day, Count: 15}
	if said := j.Cut(day, []page.Sign{attempt, attempt, attempt}); len(said) > 0 {
		t.Fatalf("%+v", said[0])
	}
	attempt.Count = 5
	if said := j.Cut(day+minute, []page.Sign{attempt}); len(said) != 1 || said[0].Subject.Gateway != incident.Registry {
		t.Errorf("%+v", said)
	}
}

func (s *site) enrol(cohort string, n int) {
	for range n {
		s.watch.Registry(s.now, census.Change{Kind: census.Joined, Device: 1, At: s.now, Body: event.DeviceEnrolled{Cohort: cohort}})
	}
}

func TestABurstOfEnrolmentsIsHeldAgainstThePast(t *testing.T) {
	s := open(t)
	begin := s.now
	if said := s.until(begin+3*day, func(at int64) {
		switch {
		case at == begin:
			s.enrol("c", 400) // it is filled
		case at > begin+2*hour && at%hour == 0:
			s.enrol("c", 8)
		}
	}); len(said) > 0 {
		t.Fatalf("%+v", said[0])
	}
	said := s.until(s.now+6*hour, func(at int64) {
		if at == begin+3*day+30*minute {
			s.enrol("c", 30)
		}
	})
	n, over := count(said, incident.CauseEnrolmentBurst)
	if n == 0 || over != 1 || said[0].Subject != (event.Subject{Cohort: "c"}) || said[0].Count < 30 {
		t.Fatalf("%+v", said)
	}
	if said := s.until(s.now+day, func(at int64) {
		if at%(3*hour) == 0 {
			s.enrol("c", 30) // it has become usual
		}
	}); len(said) > 0 {
		t.Errorf("%+v", said[0])
	}
}

// What was seen in any order, and written down and read again at any time, is judged the same.
func TestOrderAndRestartsChangeNothing(t *testing.T) {
	play := func(fork bool, order uint64) []incident.Signal {
		s := open(t)
		s.fork = fork
		r := rand.New(rand.NewPCG(1, 1))
		shuffled := rand.New(rand.NewPCG(order, order))
		refused := uint64(0)
		return s.until(s.now+8*hour, func(at int64) {
			var does []func()
			for range r.IntN(4) {
				i, kind := int32(r.IntN(5)), []string{twoAddresses, keyConflict, otherName}[r.IntN(3)]
				does = append(does, func() { s.watch.Sign(i, at, withKind(t, kind)) })
			}
			if refused += uint64(r.IntN(3)); r.IntN(20) == 0 {
				does = append(does, func() { s.enrol("c", 3) }, func() { s.enrol("d", 4) })
			}
			does = append(does, func() {
				s.watch.Mark(at, event.Watermark{Gateway: "g", Time: at, Refused: map[string]uint64{"revoked": refused}})
			})
			shuffled.Shuffle(len(does), func(a, b int) { does[a], does[b] = does[b], does[a] })
			for _, do := range does {
				do()
			}
		})
	}
	want := play(false, 1)
	if len(want) == 0 {
		t.Fatal("nothing is said")
	}
	for i := range uint64(3) {
		if got := play(true, i+2); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d signals, want %d", len(got), len(want))
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	j := NewJudge(DefaultSettings())
	var signs []page.Sign
	for i := range maxSuspects + 100 {
		signs = append(signs, page.Sign{Kind: kindClone, ID: fmt.Sprintf("d%06d", i), Cohort: "c", At: day, Count: 1, Detail: seqBack})
	}
	j.Cut(day, signs)
	if len(j.suspects) != maxSuspects || j.over != 100 {
		t.Errorf("%d suspects, %d too many", len(j.suspects), j.over)
	}
	w := NewWatch(fleet(t, 1), DefaultSettings())
	for i := range maxGateways + 5 {
		w.Mark(day, event.Watermark{Gateway: fmt.Sprint(i), Time: day})
	}
	if len(w.gateways) != maxGateways || w.Over() != 5 {
		t.Errorf("%d gateways, %d too many", len(w.gateways), w.Over())
	}
}

func FuzzRestore(f *testing.F) {
	s := &site{watch: NewWatch(fleet(f, 5), DefaultSettings()), judge: NewJudge(DefaultSettings())}
	s.watch.Sign(1, 0, value(f))
	s.judge.Cut(minute, s.watch.Tick(minute))
	s.watch.Sign(1, 0, value(f))
	for _, r := range []statetest.Keeper{s.watch, s.judge} {
		var b bytes.Buffer
		if err := r.Snapshot(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		_ = NewJudge(DefaultSettings()).Restore(bytes.NewReader(p))
		_ = NewWatch(s.watch.census, DefaultSettings()).Restore(bytes.NewReader(p))
	})
}
