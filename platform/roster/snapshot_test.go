package roster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/snapshot"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

// dump is a state's snapshot: equal states have equal ones.
func dump(t testing.TB, s *State) string {
	t.Helper()
	shared := append([]bool(nil), s.devices.shared...)
	f := s.Freeze()
	s.devices.shared = shared // nobody keeps the frozen one
	return written(t, f)
}

func written(t testing.TB, f *Frozen) string {
	t.Helper()
	var out bytes.Buffer
	w := snapshot.NewWriter(&out)
	f.Write(w)
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	return out.String()
}

func restored(text string) (*State, error) {
	return ReadState(snapshot.NewReader(bytes.NewReader([]byte(text))), nil)
}

// anything is a log of all kinds of events, sensible and not.
func anything(t testing.TB, rng *rand.Rand, n int) []*kgo.Record {
	t.Helper()
	no := func() uint32 { return uint32(1 + rng.IntN(12)) }
	cohort := func() string { return fmt.Sprint("c", rng.IntN(4)) }
	issuer := func() []byte { return []byte{byte(rng.IntN(3))} }
	enrolled := 0
	var bodies []event.Body
	for range n {
		serial := fmt.Sprintf("%x", 1+rng.IntN(40))
		key := fmt.Sprint("k", rng.IntN(20))
		var body event.Body
		switch rng.IntN(24) {
		case 0, 1, 2, 3:
			enrolled++
			body = event.DeviceEnrolled{Device: fmt.Sprint("d", enrolled), No: uint32(enrolled), Cohort: cohort(), SPKI: hash(key), Serial: serial, Attributes: map[string]string{"a": key}}
		case 4:
			body = event.DeviceEnrolled{Device: fmt.Sprint("d", no()), No: no(), Cohort: cohort(), Region: "r", SPKI: hash(key), Serial: serial}
		case 5, 6, 7, 8:
			body = issued(no(), serial, key)
		case 9:
			body = event.CertificateRevoked{No: no(), Serial: serial}
		case 10:
			if rng.IntN(4) > 0 {
				continue
			}
			body = event.DeviceRevoked{No: no()}
		case 11:
			body = event.DeviceQuarantined{No: no(), On: rng.IntN(2) == 0}
		case 12:
			old, next := no(), no()
			if old == next {
				continue
			}
			body = event.DeviceReplaced{Old: old, New: next}
		case 13, 14:
			body = event.DeviceMoved{No: no(), Cohort: cohort()}
		case 15:
			body = event.DeviceDescribed{No: no(), Attributes: map[string]string{"a": key, "b": serial}}
		case 16:
			body = event.CohortDefined{Cohort: cohort(), Interval: int64(rng.IntN(3)), Region: "eu", Sleep: []event.Sleep{{Days: 1, From: 1, To: 2}}}
		case 17:
			switch rng.IntN(20) {
			case 0:
				body = event.CohortRevoked{Cohort: cohort()}
			default:
				body = event.CohortQuarantined{Cohort: cohort(), On: rng.IntN(2) == 0}
			}
		case 18:
			body = event.IssuerDefined{Issuer: event.IssuerID(issuer()), Certificate: []byte{1}}
			der := issuer()
			body = event.IssuerDefined{Issuer: event.IssuerID(der), Certificate: der}
		case 19:
			body = event.IssuerRevoked{Issuer: event.IssuerID(issuer())}
		case 20:
			body = []event.Body{
				event.GroupDefined{Group: cohort(), Selector: "a=k1,b"}, event.GroupRemoved{Group: cohort()}, event.RegionDefined{Region: cohort(), Gateway: key},
				event.TokenMade{ID: "t", Name: "n", Role: "viewer", Hash: hash("t")}, event.AttemptRefused{What: "x"},
			}[rng.IntN(5)]
		case 21:
			grant := event.ActingGranted{Agent: no(), Cohort: cohort()}
			if from := no(); rng.IntN(2) == 0 {
				grant.Devices = slices.DeleteFunc([]uint32{from, from + 1, from + 3}, func(no uint32) bool { return no == grant.Agent })
			}
			body = grant
		case 22:
			body = event.ActingWithdrawn{Agent: no()}
		default:
			body = []event.Body{
				event.ProfileDefined{Profile: 1, Name: "p"}, event.MetricAdded{Profile: 1, Metric: serialName(serial), Kind: batch.Float},
				event.SchemaDefined{Schema: uint32(1 + rng.IntN(3)), Metrics: []event.SchemaMetric{{Name: "x"}}}, event.TopicDefined{Name: "t", ID: hash(key)[:16], Gen: uint16(1 + rng.IntN(4)), Partitions: 1},
				event.SnapshotTaken{Offset: 1, Event: 1, Chunks: 1, Sum: hash(key)},
			}[rng.IntN(5)]
		}
		bodies = append(bodies, body)
	}
	return (&chain{t: t}).records(0, bodies...)
}

func serialName(serial string) string { return "m_" + serial }

// For any log: two folds are alike, Check says what the fold does, a state that went through a snapshot at any place goes
// on as one that did not, and a frozen state stays what it was.
func TestAnyLogFoldsAlikeWithAndWithoutASnapshot(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		records := anything(t, rng, 150)
		at := rng.IntN(len(records))
		plain, through := NewState(), NewState()
		var frozen *Frozen
		var then string
		revoked := map[uint32]bool{}
		for i, rec := range records {
			if i == at && i > 0 {
				frozen, then = plain.Freeze(), dump(t, through)
				again, err := restored(then)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if got := dump(t, again); got != then {
					t.Fatalf("seed %d: a restored state is another", seed)
				}
				through = again
			}
			headers := make([]event.Header, len(rec.Headers))
			for i, h := range rec.Headers {
				headers[i] = event.Header{Key: h.Key, Value: h.Value}
			}
			e, err := event.DecodeRegistry(headers, rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			dry := plain.Check(e.Body)
			_, err1 := plain.ApplyRecord(rec)
			_, err2 := through.ApplyRecord(rec)
			if (dry == nil) != (err1 == nil) || (err1 == nil) != (err2 == nil) {
				t.Fatalf("seed %d: %+v: Check %v, fold %v, after a snapshot %v", seed, e.Body, dry, err1, err2)
			}
			for d := range plain.Devices {
				if revoked[d.No] && !d.Revoked {
					t.Fatalf("seed %d: %s came back by %+v", seed, d.ID, e.Body)
				}
				revoked[d.No] = d.Revoked
			}
		}
		if a, b := dump(t, plain), dump(t, through); a != b {
			t.Fatalf("seed %d: the states differ", seed)
		}
		if frozen != nil && written(t, frozen) != then {
			t.Fatalf("seed %d: a frozen state moved on", seed)
		}
		invariants(t, plain)
		invariants(t, through)
	}
}

// invariants is what must hold of any state.
func invariants(t *testing.T, s *State) {
	t.Helper()
	counts, revoked, in := 0, 0, map[string]int{}
	for d := range s.Devices {
		counts++
		if same, ok := s.Device(d.ID); !ok || !reflect.DeepEqual(same, d) {
			t.Errorf("device %d: %+v by number, %+v by id", d.No, d, same)
		}
		if d.Revoked {
			revoked++
		} else {
			in[d.Cohort]++
		}
		if len(d.Certificates) > MaxCertificates || len(d.Certificates) > 0 && d.Certificates[0].SPKI != d.SPKI {
			t.Errorf("%+v", d)
		}
		for _, c := range d.Certificates {
			if by, ok := s.DeviceBySerial(c.Serial); c.Serial != "" && !c.Legacy && (!ok || by.No != d.No) {
				t.Errorf("%s of %s is %s's", c.Serial, d.ID, by.ID)
			}
		}
	}
	for _, g := range s.grants() {
		if agent := s.devices.at(g.agent); agent == nil || agent.Revoked {
			t.Errorf("%d acts for others, and is none or revoked", g.agent)
		}
	}
	if got := s.Counts(); got.Devices != counts || got.Revoked != revoked {
		t.Errorf("%+v, counted %d and %d", got, counts, revoked)
	}
	for _, c := range s.Cohorts() {
		if c.Devices != in[c.Name] {
			t.Errorf("%+v, counted %d", c, in[c.Name])
		}
	}
}

func TestALargeStateOfLargeThingsHasASnapshot(t *testing.T) {
	attributes := map[string]string{}
	for i := range event.MaxAttributes {
		attributes[fmt.Sprintf("k%062d", i)] = strings.Repeat("v", event.MaxAttributeValue)
	}
	name := strings.Repeat("x", 50)
	var bodies []event.Body
	for i := range piece + 10 {
		id := fmt.Sprint(name, i)
		bodies = append(bodies, event.DeviceEnrolled{Device: id, No: uint32(i + 1), Cohort: id, Region: name, Label: name, SPKI: hash(id), Serial: fmt.Sprintf("%x", i+1), Attributes: attributes})
	}
	for i := range cohortsOfSection {
		bodies = append(bodies, event.CohortDefined{Cohort: fmt.Sprint("c", i), Region: name, Sleep: slices.Repeat([]event.Sleep{{Days: 1, From: 1, To: 1000}}, event.MaxSleep)})
	}
	s := told(t, NewState(), bodies...)
	text := dump(t, s)
	again, err := restored(text)
	if err != nil {
		t.Fatal(err)
	}
	if dump(t, again) != text {
		t.Error("a restored state is another")
	}
	invariants(t, again)
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	s := told(t, NewState(), life()...)
	text := dump(t, s)
	for n := range len(text) {
		if _, err := restored(text[:n]); err == nil {
			t.Fatalf("%d of %d bytes were enough", n, len(text))
		} else if !errors.Is(err, snapshot.ErrDamaged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func FuzzReadState(f *testing.F) {
	f.Add([]byte(dump(f, told(f, NewState(), life()...))))
	rng := rand.New(rand.NewPCG(1, 7))
	s := NewState()
	for _, rec := range anything(f, rng, 100) {
		_, _ = s.ApplyRecord(rec)
	}
	f.Add([]byte(dump(f, s)))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := restored(string(text))
		if err != nil {
			return
		}
		again, err := restored(dump(t, s))
		if err != nil || again.Counts() != s.Counts() {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}
