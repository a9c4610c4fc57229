package linear

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster.dev/platform/roster"
)

// What a client asks of the registry. Each ask that would write a certificate brings the serial that it is to have, so
// that whatever comes of one that was never answered is known by it.
type ask struct {
	Op     op
	Device string
	CSR    int    // of Enrol and Renew: which of the device's requests
	Serial string // likewise: the draft's
	With   string // of Renew: the serial of the certificate that is presented; of RevokeCertificate: which
	Held   int    // of Renew: the request of the certificate that is presented
	Synced bool   // of a look-up: it waited until the process had caught up with the log
}

type op string

const (
	enrol             op = "enrol"
	renew             op = "renew"
	revokeDevice      op = "revoke device"
	revokeCertificate op = "revoke certificate"
	look              op = "look"
	// Those of passwords.
	defineLine      op = "define line"
	makePassword    op = "make password"
	enrolByPassword op = "enrol by password"
)

// heard is what a client was answered.
type heard struct {
	Said   said
	No     uint32
	Serial string // of the certificate that stands in the log
	Seen   seen
}

type said string

const (
	done    said = "done"
	refused said = "refused"
	nothing said = "nothing" // no answer, or one that leaves it open
	// elsewhere is the answer of a process that stands by. It was not done, for sure, so that it is no part of a history.
	elsewhere said = "elsewhere"
)

// seen is a device as a look-up shows it.
type seen struct {
	Known, Revoked bool
	No             uint32
	N              int
	Certificates   [roster.MaxCertificates]certificate
}

// certificate is one of a device's, newest first.
type certificate struct {
	CSR     int
	Serial  string
	Revoked bool
}

// keys is the number of keys that each device has, and requests that of the requests it makes with each.
const (
	keys     = 4
	requests = 2
)

func keyOf(csr int) int { return csr / requests }

// device is the whole state of the model: what the registry knows of one device. It is comparable, as the checker
// needs it. A No of 0 is one that nobody has been told yet.
type device struct {
	seen
	dead [keys]bool // keys that were revoked
}

// step says whether a registry that does one thing at a time could have answered so, and what its state is then. It is
// written from what the registry promises and shares no code with it.
func (d device) step(a ask, h heard) (device, bool) {
	next, want := d.apply(a)
	if h.Said == nothing {
		return next, true // as if done: one that was not comes after all the others, where nothing looks
	}
	if want.Said != h.Said || want.Serial != h.Serial {
		return d, false
	}
	if a.Op == look {
		if d.No != 0 && h.Seen.No != d.No || h.Seen.Known != (h.Seen.No != 0) {
			return d, false
		}
		next.No, want.Seen.No = h.Seen.No, h.Seen.No
		return next, want.Seen == h.Seen
	}
	if h.Said == done {
		if h.No == 0 || next.No != 0 && next.No != h.No {
			return d, false
		}
		next.No = h.No
	}
	return next, true
}

func (d device) apply(a ask) (device, heard) {
	switch a.Op {
	case look:
		return d, heard{Said: done, Seen: d.seen}
	case enrol:
		if !d.Known {
			d.Known = true
			return d.issue(a)
		}
		if d.Revoked || !slices.ContainsFunc(d.held(), func(c certificate) bool { return keyOf(c.CSR) == keyOf(a.CSR) }) {
			return d, heard{Said: refused}
		}
		return d.again(a)
	case renew:
		i := d.find(a.With)
		if d.Revoked || i < 0 || d.Certificates[i].Revoked {
			return d, heard{Said: refused}
		}
		return d.again(a)
	case revokeDevice:
		if !d.Known {
			return d, heard{Said: refused}
		}
		d.Revoked = true
	case revokeCertificate:
		i := d.find(a.With)
		if i < 0 {
			return d, heard{Said: refused}
		}
		key := keyOf(d.Certificates[i].CSR)
		for j := range d.held() {
			if keyOf(d.Certificates[j].CSR) == key {
				d.Certificates[j].Revoked = true
			}
		}
		d.dead[key] = true
	}
	return d, heard{Said: done}
}

// again is the same certificate for the same request, else a new one for a key that was never revoked.
func (d device) again(a ask) (device, heard) {
	for _, c := range d.held() {
		if c.CSR == a.CSR && !c.Revoked {
			return d, heard{Said: done, Serial: c.Serial}
		}
	}
	if d.dead[keyOf(a.CSR)] {
		return d, heard{Said: refused}
	}
	return d.issue(a)
}

func (d device) issue(a ask) (device, heard) {
	copy(d.Certificates[1:], d.Certificates[:])
	d.Certificates[0] = certificate{CSR: a.CSR, Serial: a.Serial}
	d.N = min(d.N+1, roster.MaxCertificates)
	return d, heard{Said: done, Serial: a.Serial}
}

func (d *device) held() []certificate { return d.Certificates[:d.N] }

func (d *device) find(serial string) int {
	return slices.IndexFunc(d.held(), func(c certificate) bool { return c.Serial == serial })
}

var model = porcupine.Model{
	Init: func() any { return device{} },
	Step: func(state, input, output any) (bool, any) {
		next, ok := state.(device).step(input.(ask), output.(heard))
		return ok, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v: %v", input.(ask), output.(heard)) },
	DescribeState:     func(state any) string { return state.(device).String() },
}

func (a ask) String() string {
	switch a.Op {
	case enrol:
		return fmt.Sprintf("enrol %d as %.6s", a.CSR, a.Serial)
	case renew:
		return fmt.Sprintf("renew %d as %.6s with %.6s", a.CSR, a.Serial, a.With)
	case revokeCertificate:
		return fmt.Sprintf("revoke %.6s", a.With)
	}
	return string(a.Op)
}

func (h heard) String() string {
	switch {
	case h.Said == done && h.Serial != "":
		return fmt.Sprintf("no %d, %.6s", h.No, h.Serial)
	case h.Said == done && h.Seen.Known:
		return h.Seen.String()
	}
	return string(h.Said)
}

func (s seen) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no %d", s.No)
	if s.Revoked {
		b.WriteString(" REVOKED")
	}
	for _, c := range s.Certificates[:s.N] {
		fmt.Fprintf(&b, " %d=%.6s", c.CSR, c.Serial)
		if c.Revoked {
			b.WriteString("(revoked)")
		}
	}
	return b.String()
}

// operation is an ask with what was heard, and when: nanoseconds since the trial began.
type operation struct {
	client       int
	process      int // the incarnation that was asked
	ask          ask
	heard        heard
	asked, ended int64
	last         uint64 // of a look-up: the number of the last event that it shows
	der          string // of an answer with a certificate: the certificate
}

// never is when an operation ends whose end nobody heard.
const never = int64(1) << 62

// verdict of one device's history.
type verdict struct {
	device     string
	operations int
	result     porcupine.CheckResult
	info       porcupine.LinearizationInfo
}

// judge holds each device's history against the model: devices have nothing in common that the model knows of.
func judge(history []operation, limit time.Duration) []verdict {
	byDevice := map[string][]porcupine.Operation{}
	for _, o := range history {
		if o.heard.Said == nothing && o.ask.Op == look {
			continue // it changed nothing and was heard by nobody
		}
		p := porcupine.Operation{ClientId: o.client, Input: o.ask, Call: o.asked, Output: o.heard, Return: o.ended}
		if o.heard.Said == nothing {
			p.Return = never
		}
		byDevice[o.ask.Device] = append(byDevice[o.ask.Device], p)
	}
	var out []verdict
	for name, ops := range byDevice {
		v := verdict{device: name, operations: len(ops)}
		v.result, v.info = porcupine.CheckOperationsVerbose(model, ops, limit)
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b verdict) int { return cmp.Compare(a.device, b.device) })
	return out
}

// linearizable fails the test for each device whose history no registry of one mind could have made, and draws it.
func linearizable(t *testing.T, history []operation) {
	t.Helper()
	began := time.Now()
	verdicts := judge(history, time.Minute)
	for _, v := range verdicts {
		if v.result == porcupine.Ok {
			continue
		}
		drawing := filepath.Join(os.TempDir(), "linear-"+v.device+".html") // the test's own directory would be gone
		if err := porcupine.VisualizePath(model, v.info, drawing); err != nil {
			t.Error(err)
		}
		t.Errorf("the history of %s, of %d operations, is %v; it is drawn in %s", v.device, v.operations, v.result, drawing)
		for _, o := range history {
			if o.ask.Device == v.device {
				t.Logf("%12v to %12v at process %d: %v: %v", time.Duration(o.asked), time.Duration(o.ended), o.process, o.ask, o.heard)
			}
		}
	}
	t.Logf("judged the histories of %d devices in %v", len(verdicts), time.Since(began).Round(time.Millisecond))
}
