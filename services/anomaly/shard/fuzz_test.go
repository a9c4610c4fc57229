package shard

import (
	"bytes"
	"encoding/binary"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/census"
	"muster.dev/services/anomaly/page"
)

// FuzzRecords tells a shard whatever records there may be: it says pages that can be written, and goes on from a snapshot
// as it would have without.
func FuzzRecords(f *testing.F) {
	registry := logs(f, 0, 1)
	registry.declare(t0, event.CohortDefined{Cohort: "pumps", Interval: 10_000, Sleep: []event.Sleep{{Days: 127, From: 5, To: 9}}})
	registry.enrol(t0, "pumps", "north", 0, 3)
	registry.roll(t0+minute, "pumps")
	mark, _, err := event.Watermark{Gateway: "gw", Time: t0, Region: "north"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	day := someDay(f, 1, 3)
	f.Add([]byte("\x01\x05\x00\x02\x05\x40\x03\x60\xff"), mark, day.topics[Telemetry][60].Value, day.topics[Events][30].Value)
	f.Add(bytes.Repeat([]byte{0x00, 0x30, 0x11, 0x41, 0x02, 0x08}, 20), mark, []byte{0xc1}, []byte{0x80})
	f.Fuzz(func(t *testing.T, script, mark, batch, message []byte) {
		play := func(s *State, from, until int) (pages []*page.Page) {
			at := t0
			for k := 0; k+1 < min(until, len(script), 400); k += 2 {
				op, step := script[k], int64(script[k+1])
				at += step * 500
				h := Heard{Time: at, Offset: int64(k), Key: []byte{'d', '0', '0', '0', '0', '0', '1' + op>>6}}
				switch op >> 4 & 3 {
				case 0:
					h.Value = batch
				case 1:
					h.Value, h.Type = message, event.TypeDevice
				case 2:
					h.Value, h.Type = message, typeSign
				}
				if op&8 != 0 {
					h.Time += int64(int8(op)) * int64(binary.BigEndian.Uint16([]byte{op, script[k+1]})) * 40_000
				}
				if op&4 != 0 {
					w, err := event.DecodeWatermark(mark)
					if err == nil {
						w.Time = max(h.Time, 0)
						h.Value, _, err = w.Encode()
					}
					if err != nil {
						h.Value = mark
					}
					h.Key, h.Type = nil, markType
				}
				if k < from {
					continue
				}
				if op&3 != 1 {
					s.Telemetry(h)
				}
				if op&3 != 0 {
					s.Events(h)
				}
				for n := 0; s.Asks(); n++ {
					for _, r := range registry.registry {
						s.Registry(census.Record{Offset: r.Offset, Time: r.Time, Headers: r.Headers, Value: r.Value})
					}
					s.Answer(int64(len(registry.registry)))
					if n > 100_000 {
						t.Fatal("it asks without end")
					}
				}
				pages = append(pages, s.Pages()...)
			}
			return pages
		}
		whole := fresh(t, 0, 1, DefaultSettings())
		want := play(whole, 0, len(script))
		for i, p := range want {
			if _, _, err := p.Encode(); err != nil || i > 0 && p.From != want[i-1].Until {
				t.Fatalf("page %d: %v", i+1, err)
			}
		}
		half := len(script) / 4 * 2
		old := fresh(t, 0, 1, DefaultSettings())
		got := play(old, 0, half)
		var kept bytes.Buffer
		if err := old.Snapshot(&kept); err != nil {
			t.Fatal(err)
		}
		again := fresh(t, 0, 1, DefaultSettings())
		if err := again.Restore(&kept); err != nil {
			t.Fatal(err)
		}
		telemetry, events, _, _ := again.Position()
		got = append(got, play(again, int(min(telemetry, events)), len(script))...)
		differ(t, got, want)
	})
}
