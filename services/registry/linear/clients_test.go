package linear

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"muster.dev/services/registry/writer"
)

// fleet is the devices that clients speak of: a few at a time, so that clients meet, and each for a while, so that its
// history stays short.
type fleet struct {
	t     *testing.T
	began time.Time

	mu      sync.Mutex
	made    int
	present []*boiler
	all     map[string]*boiler
	history []operation
	serials int
	faults  map[string]int

	acknowledged map[int]int    // changes, by process; 0 is all
	issuers      map[int]bool   // processes of which a new certificate was heard
	open         map[string]int // operations that were left open, by reason
}

// boiler is a device with its keys and requests.
type boiler struct {
	name  string
	csr   [keys * requests][]byte
	hash  map[[32]byte]int
	spki  [keys][32]byte
	asked int
	left  int // operations that were left open

	known []certificate // that somebody was told of
}

const (
	present = 6  // devices at a time
	span    = 40 // operations of each
	doubts  = 5  // of them that are left open: each doubles what the checker has to think of
)

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, began: time.Now(), all: map[string]*boiler{}, faults: map[string]int{}, acknowledged: map[int]int{}, issuers: map[int]bool{}, open: map[string]int{}}
	for range present {
		f.present = append(f.present, f.build())
	}
	return f
}

func (f *fleet) build() *boiler {
	f.made++
	b := &boiler{name: fmt.Sprintf("boiler-%d", f.made), hash: map[[32]byte]int{}}
	for i := range b.csr {
		k := keyOf(i)
		if i%requests != 0 {
			continue
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		if err != nil {
			panic(err)
		}
		for j := range requests {
			// A request says nothing but its key; two of one key differ in what they ask for beside it.
			der, err := x509.CreateCertificateRequest(crand.Reader, &x509.CertificateRequest{
				Subject: pkix.Name{CommonName: b.name, SerialNumber: fmt.Sprint(j)}}, key)
			if err != nil {
				panic(err)
			}
			b.csr[i+j], b.hash[sha256.Sum256(der)] = der, i+j
		}
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		b.spki[k] = sha256.Sum256(spki)
	}
	f.all[b.name] = b
	return b
}

// next draws what to ask.
func (f *fleet) next(random *rand.Rand) (ask, request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	place := random.IntN(len(f.present))
	if f.present[place].asked == span || f.present[place].left >= doubts {
		f.present[place] = f.build()
	}
	b := f.present[place]
	b.asked++
	a := ask{Device: b.name, CSR: random.IntN(len(b.csr))}
	var held certificate
	if len(b.known) > 0 {
		held = b.known[len(b.known)-1-min(random.IntN(len(b.known)), random.IntN(len(b.known)))] // the newer the likelier
	}
	switch n := random.IntN(100); {
	case n < 40:
		a.Op = look
	case n < 60 || held.Serial == "":
		a.Op = enrol
	case n < 92:
		a.Op = renew
	case n < 99:
		a.Op = revokeCertificate
	default:
		a.Op = revokeDevice
	}
	a.Synced = a.Op == look && random.IntN(2) == 0
	q := request{Op: a.Op, Device: b.name, Synced: a.Synced}
	switch a.Op {
	case enrol, renew:
		f.serials++
		sum := sha256.Sum256(fmt.Appendf(nil, "%d", f.serials))
		a.Serial = "a" + hex.EncodeToString(sum[:15])
		q.Serial, q.CSR = a.Serial, b.csr[a.CSR]
	}
	switch a.Op {
	case renew, revokeCertificate:
		a.With, a.Held = held.Serial, held.CSR
		q.With, q.Key = held.Serial, b.spki[keyOf(held.CSR)]
	}
	if a.Op != enrol && a.Op != renew {
		a.CSR = 0
	}
	return a, q
}

// note writes down what came of it.
func (f *fleet) note(o operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.history = append(f.history, o)
	if o.heard.Said == done && o.ask.Op != look {
		f.acknowledged[0]++
		f.acknowledged[o.process]++
	}
	b := f.all[o.ask.Device]
	if o.heard.Said == nothing && o.ask.Op != look {
		b.left++
	}
	if o.heard.Said == done && o.heard.Serial != "" {
		b.known = append(b.known, certificate{CSR: o.ask.CSR, Serial: o.heard.Serial})
		if o.heard.Serial == o.ask.Serial {
			f.issuers[o.process] = true
		}
	}
}

// fault is what no registry may answer, whatever its state; the mutex is held.
func (f *fleet) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if f.faults[text]++; f.faults[text] == 1 && len(f.faults) <= 10 {
		f.t.Error(text)
	}
}

// written counts the changes that were acknowledged: by one process, or by all with 0.
func (f *fleet) written(process int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acknowledged[process]
}

// hands counts the processes of which a new certificate was heard: the place was handed over as often as that at least,
// but for the first.
func (f *fleet) hands() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.issuers)
}

// silence is the longest time in which no change was acknowledged.
func (f *fleet) silence() (longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := int64(0)
	for _, o := range f.history { // in the order of their ends
		if o.heard.Said == done && o.ask.Op != look {
			longest, last = max(longest, time.Duration(o.ended-last)), o.ended
		}
	}
	return longest
}

// run is one client that asks the process that at names, until ctx ends.
func (f *fleet) run(ctx context.Context, client int, random *rand.Rand, at func() *process) {
	var (
		to   *process
		conn net.Conn
		in   *json.Decoder
		next = client // who did not hear the end of something goes on as another
	)
	hangUp := func() {
		if conn != nil {
			conn.Close()
		}
		conn = nil
	}
	defer hangUp()
	for ctx.Err() == nil {
		if now := at(); now != to || conn == nil {
			hangUp()
			var err error
			if to = now; to != nil {
				conn, err = net.Dial("unix", to.socket)
			}
			if to == nil || err != nil {
				conn = nil
				<-time.After(2 * time.Millisecond) // it is being started
				continue
			}
			in = json.NewDecoder(conn)
		}
		a, q := f.next(random)
		o := operation{client: next, process: to.number, ask: a, asked: time.Since(f.began).Nanoseconds()}
		var r reply
		err := conn.SetDeadline(time.Now().Add(60 * time.Second))
		if err == nil {
			if err = json.NewEncoder(conn).Encode(q); err == nil {
				err = in.Decode(&r)
			}
		}
		o.ended = time.Since(f.began).Nanoseconds()
		if err != nil {
			hangUp()
			r = reply{}
		}
		f.hear(&o, r)
		if o.heard.Said != elsewhere {
			f.note(o)
		}
		if o.heard.Said == nothing {
			next += clients
		}
		if o.heard.Said == nothing || o.heard.Said == elsewhere {
			<-time.After(20 * time.Millisecond) // as who is told to come back later
		}
		<-time.After(time.Duration(random.IntN(3000)) * time.Microsecond) // devices are not in such a hurry
	}
}

const clients = 8

// why is what an answer that leaves it open says of the reason, in short.
func why(detail string) string {
	if detail == "" {
		return "no answer"
	}
	detail = strings.TrimPrefix(detail, writer.ErrUnavailable.Error()+": ")
	return "“" + detail[:min(len(detail), 46)] + "”"
}

// hear reads an answer; the mutex is held for what it finds.
func (f *fleet) hear(o *operation, r reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.all[o.ask.Device]
	if strings.HasPrefix(r.Detail, "fault:") {
		f.fault("%v of %s: %s", o.ask.Op, b.name, r.Detail)
	}
	switch {
	case r.Refused:
		o.heard.Said = refused
		return
	case r.Elsewhere:
		o.heard.Said = elsewhere
		return
	case !r.Done:
		o.heard.Said = nothing
		f.open[why(r.Detail)]++
		return
	}
	o.heard = heard{Said: done, No: r.No, Serial: r.Serial}
	o.last, o.der = r.Last, string(r.DER)
	if o.ask.Op == look {
		o.heard.No = 0
		o.heard.Seen = seen{Known: r.Known, Revoked: r.Revoked, No: r.No, N: len(r.Certificates)}
		for i, c := range r.Certificates {
			csr, ok := b.hash[c.CSR]
			if !ok {
				f.fault("%s has a certificate for a request that it never made", b.name)
			}
			o.heard.Seen.Certificates[i] = certificate{CSR: csr, Serial: c.Serial, Revoked: c.Revoked}
		}
		return
	}
	if len(r.DER) == 0 {
		return
	}
	cert, err := x509.ParseCertificate(r.DER)
	if err != nil {
		f.fault("%s was given no certificate: %v", b.name, err)
		return
	}
	if spki := sha256.Sum256(cert.RawSubjectPublicKeyInfo); cert.SerialNumber.Text(16) != r.Serial || spki != b.spki[keyOf(o.ask.CSR)] || cert.Subject.CommonName != b.name {
		f.fault("%s was given a certificate that is not what stands of it in the log", b.name)
	}
}
