package shard

import (
	"testing"

	"muster.dev/services/anomaly/page"
)

func missing(pages []*page.Page) (n int) {
	for _, p := range pages {
		for _, s := range p.Slots {
			n += len(s.Gone)
		}
	}
	return n
}

// TestDevicesBehindAGatewayWithAWrongClockAreNotSilent has one of two gateways stamp what its devices say with a time of
// its own.
func TestDevicesBehindAGatewayWithAWrongClockAreNotSilent(t *testing.T) {
	for name, off := range map[string]int64{"none": 0, "1970": -t0 + minute, "years ahead": 3 * 366 * day, "a day behind": -day, "hours ahead": 2 * hour, "minutes ahead": 8 * minute} {
		in := logs(t, 0, 1)
		ids := in.enrol(t0-minute, "pumps", "", 30_000, 10)
		in.marks(t0, t0+40*minute, 5_000, "a")
		in.leapt(t0+1, t0+5*minute, 5_000, 0, "b", "")
		in.leapt(t0+5*minute, t0+40*minute, 5_000, off, "b", "")
		for k, id := range ids {
			for at := t0 + int64(k)*900; at < t0+40*minute; at += 30_000 {
				in.reading(at, id, "temp", 20)
				if k%2 == 0 && at >= t0+5*minute+20_000 { // its clock is known to be off by now
					last := in.topics[Telemetry][len(in.topics[Telemetry])-1]
					last.Time += off
					in.wrong[Telemetry] = append(in.wrong[Telemetry], arrived{at, last})
					in.topics[Telemetry] = in.topics[Telemetry][:len(in.topics[Telemetry])-1]
				}
			}
		}
		s := fresh(t, 0, 1, DefaultSettings())
		pages := in.arrivedAll().all(s)
		if last := pages[len(pages)-1].Until; last < t0+38*minute || last > t0+40*minute {
			t.Errorf("%s: until %d", name, last-t0)
		}
		if n := missing(pages); n != 0 {
			t.Errorf("%s: %d times a device was missing, %+v", name, n, s.Counts())
		}
	}
}

func TestADetectorThatIsOffTellsNothing(t *testing.T) {
	in := someDay(t, 8, 14)
	for name, c := range map[string]struct {
		off  Off
		left func(p *page.Page) int
	}{
		"silence": {Off{Silence: true}, func(p *page.Page) int { return len(p.Slots) }},
		"update":  {Off{Update: true}, func(p *page.Page) int { return len(p.Arms) + len(p.Ranks) }},
		"series":  {Off{Series: true}, func(p *page.Page) int { return len(p.Findings) }},
		"spend":   {Off{Spend: true}, func(p *page.Page) int { return len(p.Volumes) }},
		"all":     {Off{true, true, true, true, true}, func(p *page.Page) int { return len(p.Slots) + len(p.Arms) + len(p.Volumes) + len(p.Signs) }},
	} {
		set := DefaultSettings()
		set.Off = c.off
		pages := in.all(fresh(t, 1, 3, set))
		for _, p := range pages {
			if c.left(p) != 0 {
				t.Errorf("%s: %+v", name, *p)
			}
		}
		if len(pages) < 14 {
			t.Errorf("%s: %d pages", name, len(pages))
		}
	}
}
