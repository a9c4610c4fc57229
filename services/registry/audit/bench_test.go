package audit

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"muster.dev/proto/event"
)

// devicesOf is a log of so many devices: an enrolment and a certificate each.
func devicesOf(t testing.TB, devices int, each func(Record)) {
	t.Helper()
	var prev Hash
	n := uint64(0)
	say := func(body event.Body) {
		n++
		value, _, err := event.Registry{N: n, Prev: prev, Time: day.UnixMilli() + int64(n), Who: "est", Why: "enrolled by a one-time password", Body: body}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		prev = Hash(event.Chain(value))
		each(Record{Offset: int64(n - 1), Type: body.Type(), Value: value})
	}
	key := make([]byte, 32)
	for no := 1; no <= devices; no++ {
		say(event.DeviceEnrolled{Device: fmt.Sprintf("pump-%07d", no), No: uint32(no), Cohort: "north", Profile: 1, Method: "password", Via: "p-1"})
		say(event.CertificateIssued{No: uint32(no), Serial: fmt.Sprintf("%x", 1<<40+no), SPKI: key, CSR: key, NotBefore: 1, NotAfter: 2, Issuer: "869c6f9f4395ec4a2b113294f3010a49", Method: "password"})
	}
}

func BenchmarkVerify(b *testing.B) {
	var all []Record
	size := 0
	devicesOf(b, 20_000, func(r Record) { all = append(all, r); size += len(r.Value) })
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		v := NewVerifier()
		for _, r := range all {
			_, _, _ = v.Add(r)
		}
		if r := v.Report("log"); !r.OK() || r.Events != uint64(len(all)) {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(len(all)*b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkVerifyAnExport(b *testing.B) {
	var all []Record
	devicesOf(b, 20_000, func(r Record) { all = append(all, r) })
	raw := exported(b, all, JSONL, time.Time{}, time.Time{})
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if r := verified(b, raw); !r.OK() || r.Events != uint64(len(all)) {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(len(all)*b.N)/b.Elapsed().Seconds(), "events/s")
}

func TestMemoryIsOfTheDevicesAndNotOfTheEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	v, r := NewVerifier(), NewReader()
	x, err := NewExporter(io.Discard, JSONL)
	if err != nil {
		t.Fatal(err)
	}
	const devices = 100_000
	var held uint64
	devicesOf(t, devices, func(rec Record) {
		e, linked, err := v.Add(rec)
		if err := x.Write(r.Entry(rec, e, linked, err)); err != nil {
			t.Fatal(err)
		}
	})
	if now := heap(); now > before {
		held = now - before
	}
	// The last 65,536 events are remembered, at less than 256 bytes each, and 16 bytes and its name of each device.
	if most := uint64(window*256 + devices*64); held > most {
		t.Errorf("%d bytes are held after %d events, want at most %d", held, 2*devices, most)
	}
	if report := v.Report("log"); !report.OK() || report.Events != 2*devices {
		t.Error(report)
	}
}
