package gateway

import (
	"context"
	"testing"
	"time"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/roster"
	"muster.dev/proto/batch"
)

// decoder is a gateway that can decode and nothing else: its roster has read nothing.
func decoder(t testing.TB) *Gateway {
	t.Helper()
	r, err := roster.Follow(eventlog.Config{Brokers: []string{"127.0.0.1:1"}}, roster.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.Run(ended) // only Run lets go of what Follow holds
	})
	return &Gateway{cfg: DefaultConfig(), roster: r}
}

func FuzzNoBodyIsOurFault(f *testing.F) {
	b := batch.NewBuilder()
	b.SetKey(1, 2)
	b.SetScaled(1_795_341_850_123, "temp_c", 2150, 2)
	b.SetText(1_795_341_850_123, "mode", "eco")
	seed, err := b.AppendTo(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, uint8(compact), false)
	f.Add([]byte(`{"boot":3,"seq":17,"device":"a","readings":[{"ts":1795341850123,"metrics":{"temp_c":21.5,"rssi_dbm":-70}}]}`), uint8(easyJSON), false)
	f.Add([]byte(`{"events":[{"ts":1,"type":"boot","reason":"x"}],"device":{"a":[1]}}`), uint8(easyJSON), true)
	f.Add([]byte("\x82\xa6device\xa1a\xa6events\x91\x83\xa2ts\x01\xa4type\xa4boot\xa6reason\xa1x"), uint8(easyMsgPack), true)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, uint8(easyMsgPack), false)
	g := decoder(f)
	c := newCall(g)
	f.Fuzz(func(t *testing.T, p []byte, asForm uint8, event bool) {
		s := telemetry
		if event {
			s = events
		}
		c.begin(s)
		c.device = &roster.Device{ID: "boiler-1", No: 1}
		c.at = time.UnixMilli(1_795_341_850_500)
		c.form, c.body = form(asForm%3), p
		if s == events && c.form == compact {
			c.form = easyMsgPack
		}
		if problem := c.decode(); problem != nil {
			switch problem.Reason.Status() {
			case 400, 403, 413, 422:
			default:
				t.Fatalf("%d for %q", problem.Reason.Status(), p)
			}
			if problem.Detail == "" {
				t.Fatalf("no sentence for %q", p)
			}
			return
		}
		if c.receipt.Values < 0 || c.receipt.Faults != len(c.faults) || len(c.value) == 0 {
			t.Fatalf("%+v of %q", c.receipt, p)
		}
		if s == telemetry {
			var again batch.Batch
			if err := again.Decode(c.value); err != nil {
				t.Fatalf("what would be in the log cannot be read: %v", err)
			}
		}
	})
}

func BenchmarkDecodeCompact(b *testing.B) {
	build := batch.NewBuilder()
	build.SetKey(1, 2)
	for i := range int64(11) {
		for _, m := range []string{"temp_c", "rssi_dbm", "heap_free", "battery_v", "uptime_s"} {
			build.SetScaled(1_795_341_850_000+i*1000, m, 2150+i, 2)
		}
	}
	p, err := build.AppendTo(nil)
	if err != nil {
		b.Fatal(err)
	}
	c := newCall(decoder(b))
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		c.begin(telemetry)
		c.at = time.UnixMilli(1_795_341_860_000)
		c.form, c.body = compact, p
		if problem := c.decode(); problem != nil || c.receipt.Values != 55 {
			b.Fatal(problem, c.receipt)
		}
	}
}
