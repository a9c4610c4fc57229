package linear

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// persist asks whatever registry there is, as a device does: the same again until it is told yes or no.
func persist(at func() *process, q request, until time.Time) (reply, error) {
	for tries := 1; ; tries++ {
		draft := sha256.Sum256(fmt.Appendf(nil, "%s %d", q.Device, tries))
		q.Serial = "a" + hex.EncodeToString(draft[:15])
		r, err := once(at(), q)
		if err == nil && (r.Done || r.Refused) {
			return r, nil
		}
		if time.Now().After(until) {
			return r, fmt.Errorf("no answer after %d tries: %+v, %w", tries, r, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func once(p *process, q request) (r reply, err error) {
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return r, err
	}
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return r, err
	}
	return r, json.NewDecoder(conn).Decode(&r)
}

// A password that is good once is asked for by two devices at a time, whatever dies. One of them gets in, and gets its
// certificate though its first answer was lost; the other does not.
func TestTortureAOneTimePasswordLetsOneDeviceInWhateverDies(t *testing.T) {
	passwords := 60
	if full() {
		passwords = 600
	}
	random := chances(t)
	s := open(t)
	f := newFleet(t)
	var present atomic.Pointer[process]
	at := func() *process { return present.Load() }
	stop := make(chan struct{})
	var keeper sync.WaitGroup
	deaths := 0
	own := rand.New(rand.NewPCG(random.Uint64(), 1))
	present.Store(s.start("registry", point{}, syscall.SIGKILL))
	keeper.Go(func() { // one registry after another
		for {
			p := present.Load()
			select {
			case <-stop:
				p.kill()
				return
			case <-p.exited:
			case <-time.After(time.Duration(100+own.IntN(300)) * time.Millisecond):
				p.kill()
			}
			deaths++
			// It dies while it writes, mostly: each password makes three commands or more.
			p = nil
			for next := draw(own); p == nil; next = draw(own) {
				if next.Key == kmsg.Produce.Int16() || next.Key == kmsg.EndTxn.Int16() || next.Phase == replying {
					next.Nth = 1 + own.Int32N(5)
					p = s.start("registry", next, syscall.SIGKILL)
				}
			}
			present.Store(p)
		}
	})
	end := sync.OnceFunc(func() { close(stop); keeper.Wait() })
	t.Cleanup(end)

	limit := time.Now().Add(5 * time.Minute)
	if r, err := persist(at, request{Op: defineLine}, limit); err != nil || !r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	winner := map[string]string{}
	for i := range passwords {
		id := fmt.Sprintf("password-%d", i)
		secret := sha256.Sum256([]byte(id))
		if r, err := persist(at, request{Op: makePassword, With: id, Key: secret, Until: limit.Add(time.Hour)}, limit); err != nil || !r.Done {
			t.Fatalf("%+v, %v", r, err)
		}
		var all sync.WaitGroup
		var answers [2]reply
		var names [2]string
		for j := range answers {
			b := f.build()
			names[j] = b.name
			all.Go(func() {
				var err error
				if answers[j], err = persist(at, request{Op: enrolByPassword, Device: b.name, CSR: b.csr[0], With: id, Key: secret}, limit); err != nil {
					t.Errorf("%s: %v", b.name, err)
				}
			})
		}
		all.Wait()
		if answers[0].Done == answers[1].Done {
			t.Errorf("%s let in %v and %v: %q and %q", id, answers[0].Done, answers[1].Done, answers[0].Detail, answers[1].Detail)
		}
		for j := range answers {
			if answers[j].Done {
				winner[id] = names[j]
			}
		}
	}
	end()

	state, came := roster.NewState(), map[string]string{}
	err := eventlog.Tail(s.soon(), s.log, eventlog.TailSettings{Topics: []string{record.TopicRegistry}}, func(rec *kgo.Record) error {
		change, err := state.ApplyRecord(rec)
		if err != nil {
			return err
		}
		if b, ok := change.Body.(event.DeviceEnrolled); ok {
			if before, twice := came[b.Via]; twice {
				t.Errorf("%s and %s both came by %s", before, b.Device, b.Via)
			}
			came[b.Via] = b.Device
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, device := range winner {
		if came[id] != device {
			t.Errorf("%s let in %s, and the log says %q", id, device, came[id])
		}
	}
	t.Logf("%d passwords, %d deaths, %d events", passwords, deaths, state.Last())
}
