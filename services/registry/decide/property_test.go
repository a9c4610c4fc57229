package decide

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// script makes commands of bytes: few names, so that they meet.
type script struct {
	bytes []byte
	n     int // of commands that were made: serials and requests are drafted anew each time
	der   [][]byte
}

func (p *script) pick(n int) int {
	if len(p.bytes) == 0 {
		return 0
	}
	b := int(p.bytes[0])
	p.bytes = p.bytes[1:]
	return b % n
}

func (p *script) device() identity.Device { return identity.Device(fmt.Sprint("d", p.pick(6))) }
func (p *script) cohort() string          { return fmt.Sprint("c", p.pick(3)) }

func (p *script) draft(at time.Time) Certificate {
	p.n++
	serial := fmt.Sprintf("1%x", p.n)
	if p.pick(12) == 0 {
		serial = fmt.Sprintf("1%x", 1+p.pick(p.n)) // a draft as another drew it
	}
	return Certificate{
		Serial: serial, SPKI: sha256.Sum256([]byte{1, byte(p.pick(9))}), CSR: sha256.Sum256([]byte{2, byte(p.pick(12))}),
		Issuer: event.IssuerID(p.der[p.pick(len(p.der))]), NotBefore: at, NotAfter: at.Add(time.Duration(1+p.pick(90)) * 24 * time.Hour),
	}
}

func (p *script) command(s *State, at time.Time) Command {
	word := func(n int) [32]byte { return sha256.Sum256([]byte{3, byte(n)}) }
	switch p.pick(28) {
	case 0, 1, 2:
		return Enrol{Device: p.device(), Cohort: p.cohort(), Certificate: p.draft(at), Names: []string{string(p.device())}[:p.pick(2)]}
	case 3, 4, 5:
		return EnrolByPassword{User: string(p.device()), Secret: word(p.pick(5)), Certificate: p.draft(at)}
	case 6, 7:
		return EnrolByManufacturer{Manufacturer: "acme", Serial: fmt.Sprint("SN", p.pick(4)), Certificate: p.draft(at)}
	case 8, 9, 10:
		c := Reenrol{Device: p.device(), Certificate: p.draft(at)}
		if d, ok := s.Device(c.Device); ok && len(d.Certificates) > 0 {
			has := d.Certificates[p.pick(len(d.Certificates))]
			c.Serial, c.SPKI = has.Serial, has.SPKI
		}
		return c
	case 11:
		return RevokeCertificate{fmt.Sprintf("1%x", 1+p.pick(p.n+1))}
	case 12:
		if p.pick(3) > 0 {
			return Quarantine{Device: p.device(), On: p.pick(2) == 0}
		}
		return RevokeDevice{p.device()}
	case 13:
		return Quarantine{Cohort: p.cohort(), On: p.pick(2) == 0}
	case 14:
		return Replace{Old: p.device(), New: p.device()}
	case 15:
		return Move{Devices: []identity.Device{p.device(), p.device()}, Cohort: p.cohort()}
	case 16:
		return Describe{Device: p.device(), Set: map[string]string{"a": fmt.Sprint(p.pick(3))}, Unset: []string{"b"}}
	case 17:
		return DefineCohort{Cohort: p.cohort(), Interval: time.Duration(p.pick(3)) * time.Minute}
	case 18:
		if p.pick(12) > 0 {
			return DefineGroup{Group: "g", Selector: fmt.Sprint("a=", p.pick(3))}
		}
		return RevokeCohort{p.cohort()}
	case 19:
		return DefineLine{Label: fmt.Sprint("l", p.pick(2)), Cohort: p.cohort()}
	case 20:
		c := MakePassword{ID: fmt.Sprint("p", p.n), Hash: word(p.pick(5)), Label: fmt.Sprint("l", p.pick(2)), NotAfter: at.Add(time.Duration(p.pick(5)) * time.Hour), Uses: uint32(p.pick(4))}
		if c.Prefix = "d"; p.pick(2) == 0 {
			c.Prefix, c.Device = "", p.device()
		}
		p.n++
		return c
	case 21:
		return WithdrawPassword{fmt.Sprint("p", p.pick(p.n+1))}
	case 22:
		if p.pick(4) == 0 {
			return DistrustManufacturer{"acme"}
		}
		return TrustManufacturer{Name: "acme", Certificates: p.der[:1]}
	case 23:
		if p.pick(3) == 0 {
			return ReleaseSerials{Manufacturer: "acme", Serials: []string{fmt.Sprint("SN", p.pick(4))}}
		}
		return ClaimSerials{Manufacturer: "acme", Label: fmt.Sprint("l", p.pick(2)), Claims: []Claim{{Serial: fmt.Sprint("SN", p.pick(4)), Device: string(p.device())}}}
	case 24:
		if p.pick(6) > 0 {
			return DefineIssuer{p.der[p.pick(len(p.der))]}
		}
		return RevokeIssuer{event.IssuerID(p.der[p.pick(len(p.der))])}
	case 25, 26:
		c := GrantActing{Agent: p.device(), Devices: []identity.Device{p.device(), p.device()}[:p.pick(3)]}
		if p.pick(2) == 0 {
			c.Cohort = p.cohort()
		}
		return c
	}
	return MakeToken{ID: fmt.Sprint("t", p.pick(3)), Name: "n", Role: RoleViewer, Hash: word(p.pick(3)), NotAfter: at.Add(time.Hour)}
}

// play decides a script, and holds what comes of it to what must be true whatever anybody says.
func play(t *testing.T, p *script, restart int) {
	s, at := NewState(), now
	var records []*kgo.Record
	revoked := map[uint32]bool{}
	dead := map[[32]byte]bool{} // keys
	for step := 0; len(p.bytes) > 0; step++ {
		at = at.Add(time.Duration(p.pick(4)) * 12 * time.Hour)
		c := p.command(s, at)
		before := s.Last()
		out, err := Decide(s, at, c)
		var refusal *Refusal
		if err != nil && (!errors.As(err, &refusal) || len(out.Events) > 0) || s.Last() != before {
			t.Fatalf("%+v: %+v, %v", c, out, err)
		}
		cohorts := map[uint32]string{}
		for d := range s.Devices {
			cohorts[d.No] = d.Cohort
		}
		for _, body := range out.Events {
			if err := s.Check(body); err != nil {
				t.Fatalf("%+v decides %+v, which cannot be: %v", c, body, err)
			}
			rec, err := s.Extend(at, "test", "", body)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			records = append(records, rec)
			if b, ok := body.(event.CertificateIssued); ok {
				if dead[[32]byte(b.SPKI)] {
					t.Fatalf("%+v certifies a key that was revoked", c)
				}
				if had, ok := s.DeviceBySerial(b.Serial); !ok || out.Certificate.Serial != b.Serial || had.No != out.No {
					t.Fatalf("%+v says %+v of %+v", c, out, b)
				}
			}
		}
		if len(out.Events) > 0 {
			// What was done and is asked again is answered alike and makes no second event, but for what cannot be told
			// from a new wish.
			if again, err := Decide(s, at, c); err == nil && again.Certificate != out.Certificate {
				t.Fatalf("%+v: first %+v, then %+v", c, out, again)
			}
		}
		holders, serials := map[[32]byte]uint32{}, map[string]bool{}
		for d := range s.Devices {
			if revoked[d.No] && !d.Revoked {
				t.Fatalf("%+v brings %s back", c, d.ID)
			}
			revoked[d.No] = d.Revoked
			if _, moves := c.(Move); !moves && cohorts[d.No] != "" && cohorts[d.No] != d.Cohort {
				t.Fatalf("%+v moved %s", c, d.ID)
			}
			for _, has := range d.Certificates {
				if other, taken := holders[has.SPKI]; taken && other != d.No {
					t.Fatalf("%+v: a key of devices %d and %d", c, other, d.No)
				}
				holders[has.SPKI] = d.No
				if serials[has.Serial] {
					t.Fatalf("%+v: serial %s was given out twice", c, has.Serial)
				}
				serials[has.Serial] = true
				if d.Revoked || has.Revoked {
					dead[has.SPKI] = true
				}
				if _, standing := s.Standing(d.ID, has.Serial, has.SPKI); d.Revoked && standing != roster.DeviceRevoked {
					t.Fatalf("%s is %v", d.ID, standing)
				}
			}
		}
		for _, pw := range s.Passwords() {
			if pw.Used > pw.Uses {
				t.Fatalf("%+v: %+v", c, pw)
			}
		}
		if step >= restart && s.Last() > 0 {
			restart = math.MaxInt
			again, err := ReadState(bytes.NewReader(dumped(t, s)))
			if err != nil {
				t.Fatal(err)
			}
			again.Pass(s.Offset())
			s = again
		}
	}
	replayed := NewState()
	for _, rec := range records {
		if err := replayed.Apply(rec); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(dumped(t, s), dumped(t, replayed)) {
		t.Fatal("the log alone gives another state")
	}
}

func dumped(t *testing.T, s *State) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Freeze().Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhateverIsSaidTheRulesHold(t *testing.T) {
	der := [][]byte{authority(t, "a"), authority(t, "b")}
	for seed := range uint64(150) {
		rng := rand.NewChaCha8([32]byte{byte(seed)})
		p := make([]byte, 2_000)
		_, _ = rng.Read(p)
		play(t, &script{bytes: p, der: der}, int(seed))
	}
}

func FuzzDecide(f *testing.F) {
	der := [][]byte{authority(f, "a"), authority(f, "b")}
	rng := rand.NewChaCha8([32]byte{9})
	p := make([]byte, 500)
	_, _ = rng.Read(p)
	f.Add(p, 10)
	f.Fuzz(func(t *testing.T, p []byte, restart int) {
		play(t, &script{bytes: p[:min(len(p), 4_000)], der: der}, restart)
	})
}
