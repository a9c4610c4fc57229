package linear

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// history makes operations of one device that come one after another, but for those that say otherwise.
func history(ops ...operation) []operation {
	for i := range ops {
		ops[i].ask.Device = "d"
		if ops[i].asked == 0 {
			ops[i].asked = int64(10 * (i + 1))
		}
		if ops[i].ended == 0 {
			ops[i].ended = ops[i].asked + 5
		}
	}
	return ops
}

func enrolled(csr int, draft, serial string) operation {
	return operation{ask: ask{Op: enrol, CSR: csr, Serial: draft}, heard: heard{Said: done, No: 1, Serial: serial}}
}

func looked(revoked bool, certificates ...certificate) operation {
	s := seen{Known: true, Revoked: revoked, No: 1, N: len(certificates)}
	copy(s.Certificates[:], certificates)
	return operation{ask: ask{Op: look}, heard: heard{Said: done, Seen: s}}
}

func revoked(what op, with string, answer said) operation {
	o := operation{ask: ask{Op: what, With: with}, heard: heard{Said: answer}}
	if answer == done {
		o.heard.No = 1
	}
	return o
}

func unheard(o operation) operation {
	o.heard = heard{Said: nothing}
	return o
}

func at(from, to int64, o operation) operation {
	o.asked, o.ended = from, to
	return o
}

// A checker that takes everything proves nothing: each of these histories tells of one fault, and one beside it that
// differs in the fault alone is in order.
func TestABrokenHistoryIsRefused(t *testing.T) {
	a := certificate{CSR: 0, Serial: "a"}
	ended := certificate{CSR: 0, Serial: "a", Revoked: true}
	b := certificate{CSR: 1, Serial: "b"}
	absent := operation{ask: ask{Op: look}, heard: heard{Said: done}}
	conflict := operation{ask: ask{Op: enrol, CSR: 0, Serial: "x"}, heard: heard{Said: refused}}
	other := enrolled(0, "x", "a")
	other.heard.No = 2
	for _, c := range []struct {
		fault         string
		right, broken []operation
	}{
		{"one request has two certificates",
			history(enrolled(0, "a", "a"), enrolled(0, "x", "a")),
			history(enrolled(0, "a", "a"), enrolled(0, "x", "x"))},
		{"a device has two numbers",
			history(enrolled(0, "a", "a"), enrolled(0, "x", "a")),
			history(enrolled(0, "a", "a"), other)},
		{"an acknowledged certificate is lost",
			history(enrolled(0, "a", "a"), looked(false, a)),
			history(enrolled(0, "a", "a"), absent)},
		{"an acknowledged renewal is lost",
			history(enrolled(0, "a", "a"), enrolled(1, "b", "b"), looked(false, b, a)),
			history(enrolled(0, "a", "a"), enrolled(1, "b", "b"), looked(false, a))},
		{"a device that was revoked is good again",
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), looked(true, a)),
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), looked(false, a))},
		{"a device that was revoked enrols",
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), conflict),
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), enrolled(0, "x", "a"))},
		{"a certificate that was revoked is good again",
			history(enrolled(0, "a", "a"), revoked(revokeCertificate, "a", done), looked(false, ended)),
			history(enrolled(0, "a", "a"), revoked(revokeCertificate, "a", done), looked(false, a))},
		{"a revoked key is certified anew",
			history(enrolled(0, "a", "a"), revoked(revokeCertificate, "a", done), conflict),
			history(enrolled(0, "a", "a"), revoked(revokeCertificate, "a", done), enrolled(1, "b", "b"))},
		{"a look-up shows what comes later",
			history(at(10, 30, enrolled(0, "a", "a")), at(20, 25, looked(false, a))),
			history(at(20, 30, enrolled(0, "a", "a")), at(10, 15, looked(false, a)))},
		{"look-ups go back",
			history(at(10, 100, enrolled(0, "a", "a")), at(20, 25, absent), at(30, 35, looked(false, a))),
			history(at(10, 100, enrolled(0, "a", "a")), at(20, 25, looked(false, a)), at(30, 35, absent))},
		{"what nobody heard of took effect, and then did not",
			history(enrolled(0, "a", "a"), unheard(revoked(revokeDevice, "", done)), looked(false, a), looked(true, a)),
			history(enrolled(0, "a", "a"), unheard(revoked(revokeDevice, "", done)), looked(true, a), looked(false, a))},
		{"what nobody heard of took effect before it was asked",
			history(enrolled(0, "a", "a"), unheard(enrolled(1, "b", "")), looked(false, b, a)),
			history(enrolled(0, "a", "a"), looked(false, b, a), unheard(enrolled(1, "b", "")))},
		{"what nobody asked for was done",
			history(enrolled(0, "a", "a"), looked(false, a)),
			history(enrolled(0, "a", "a"), looked(true, a))},
		{"what was refused was done",
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), conflict, looked(true, a)),
			history(enrolled(0, "a", "a"), revoked(revokeDevice, "", done), conflict, looked(true, certificate{CSR: 0, Serial: "x"}, a))},
	} {
		t.Run(c.fault, func(t *testing.T) {
			if v := judge(c.right, time.Minute); len(v) != 1 || v[0].result != porcupine.Ok {
				t.Errorf("the history that is in order: %v", v[0].result)
			}
			if v := judge(c.broken, time.Minute); len(v) != 1 || v[0].result != porcupine.Illegal {
				t.Errorf("the broken history: %v", v[0].result)
			}
		})
	}
}
