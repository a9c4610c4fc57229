package schema

import (
	"fmt"
	"slices"
	"testing"

	"muster.dev/platform/roster"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/services/registry/decide"
)

func TestAColumnSuitsWhatWasSeen(t *testing.T) {
	for name, c := range map[string]struct {
		seen seen
		want decide.Metric
		ok   bool
	}{
		"too few":                 {seen: seen{ints: 19}},
		"whole numbers":           {seen{ints: 20, magnitude: 1e18}, decide.Metric{Kind: batch.Int}, true},
		"decimals":                {seen{ints: 20, scale: 2, magnitude: 99.99}, decide.Metric{Kind: batch.Int, Scale: 2}, true},
		"decimals too large":      {seen: seen{ints: 20, scale: 3, magnitude: 1_000_000}},
		"decimals just fitting":   {seen{ints: 20, scale: 3, magnitude: 999_999.999}, decide.Metric{Kind: batch.Int, Scale: 3}, true},
		"floats":                  {seen{floats: 20}, decide.Metric{Kind: batch.Float}, true},
		"floats and few integers": {seen{floats: 10, ints: 10, magnitude: 5}, decide.Metric{Kind: batch.Float}, true},
		"floats and long numbers": {seen: seen{floats: 10, ints: 10, magnitude: 1 << 60}},
		"switches":                {seen{bools: 20}, decide.Metric{Kind: batch.Bool}, true},
		"switches and numbers":    {seen: seen{bools: 10, ints: 10}},
		"few texts":               {seen{texts: 20, distinct: 3}, decide.Metric{Kind: batch.Text}, true},
		"many texts":              {seen: seen{texts: 500, distinct: 101}},
		"texts and numbers":       {seen: seen{texts: 100, floats: 1, distinct: 3}},
	} {
		got, ok := judge("m", c.seen, 20)
		c.want.Name = "m"
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if _, ok := judge("x`; DROP TABLE y", seen{ints: 100}, 20); ok {
		t.Error("a name that is no identifier got a column")
	}
}

func TestAMetricIsReadBackFromItsColumn(t *testing.T) {
	for _, name := range []string{"temp_c", "device"} {
		for _, m := range candidates(name) {
			w := warehouse.Metric{Name: m.Name, Kind: m.Kind, Scale: m.Scale}
			if got, ok := metricOf(warehouse.MetricColumn(name), w.ColumnType()); !ok || got != m {
				t.Errorf("%+v: %+v, %v", m, got, ok)
			}
		}
	}
	for column, typ := range map[string]string{"device": "LowCardinality(String)", "ts": "DateTime64(3, 'UTC')", "off": "UInt64"} {
		if m, ok := metricOf(column, typ); ok {
			t.Errorf("%s is taken for %+v", column, m)
		}
	}
}

func TestOneDeviceTakesHalfOfAProfilesColumnsAtMost(t *testing.T) {
	for enrolled, want := range map[uint64]int{0: 2, 1: 2, 39: 2, 100: 5, 320: 16, 1_000_000: 16} {
		if got := senders(enrolled); got != want {
			t.Errorf("of %d devices %d must send it, want %d", enrolled, got, want)
		}
	}
	if openMetrics*2 != decide.MaxMetrics {
		t.Errorf("%d of %d columns are for whatever is seen", openMetrics, decide.MaxMetrics)
	}
}

func TestDevicesAreCountedOnce(t *testing.T) {
	var s seen
	s.add(seen{devices: []uint32{7, 9}})
	s.add(seen{devices: []uint32{3, 7}})
	if !slices.Equal(s.devices, []uint32{3, 7, 9}) {
		t.Errorf("devices %v", s.devices)
	}
	for i := range uint32(100) {
		s.add(seen{devices: []uint32{i}})
	}
	if len(s.devices) != maxSenders {
		t.Errorf("%d devices are kept", len(s.devices))
	}
}

func TestNamesThatOneDeviceMakesUpAreForgottenBeforeWhatManySend(t *testing.T) {
	c := &Controller{seen: map[key]seen{}}
	profiles := []roster.Profile{{Name: "p"}}
	flood := func(n int) {
		found := map[key]seen{}
		for i := range maxKeys {
			found[key{"p", fmt.Sprintf("made_up_%d_%d", n, i)}] = seen{ints: 1000, devices: []uint32{1}}
		}
		c.remember(profiles, found)
	}
	flood(0)
	honest := key{"p", "temp_c"}
	c.remember(profiles, map[key]seen{honest: {ints: 1, devices: []uint32{2, 3}}})
	flood(1)
	if len(c.seen) != maxKeys {
		t.Errorf("%d names are remembered, want %d", len(c.seen), maxKeys)
	}
	if _, ok := c.seen[honest]; !ok {
		t.Error("what two devices send was forgotten")
	}
}
