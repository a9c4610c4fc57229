package rule

import (
	"fmt"
	"path"
	"time"

	"muster.dev/proto/batch"
)

// Config is one rule as an operator writes it: for whom, and one thing that is done.
type Config struct {
	// Devices and Metric are patterns of path.Match, as boiler-* and temp_?; empty is any.
	Devices string `yaml:"devices,omitempty"`
	Metric  string `yaml:"metric,omitempty"`
	// Drop drops the reading.
	Drop bool `yaml:"drop,omitempty"`
	// Rename gives the metric another name.
	Rename string `yaml:"rename,omitempty"`
	// Every keeps at most one reading of a device's metric in this time, by the readings' own times.
	Every time.Duration `yaml:"every,omitempty"`
}

// Validate names the key that cannot be used.
func (c Config) Validate() error {
	for _, p := range []struct{ key, pattern string }{{"devices", c.Devices}, {"metric", c.Metric}} {
		if _, err := path.Match(p.pattern, "x"); err != nil {
			return fmt.Errorf("%s %q: %w", p.key, p.pattern, err)
		}
	}
	does := 0
	if c.Drop {
		does++
	}
	if c.Rename != "" {
		if !batch.MetricName(c.Rename) {
			return fmt.Errorf("rename %q: want a metric's name, a-z or _, then a-z, 0-9 or _, at most %d", c.Rename, batch.MaxMetricName)
		}
		does++
	}
	if c.Every != 0 {
		if c.Every < time.Millisecond {
			return fmt.Errorf("every %v: want at least 1ms", c.Every)
		}
		does++
	}
	if does != 1 {
		return fmt.Errorf("want one of drop, rename and every, and there are %d", does)
	}
	return nil
}

// New makes the rules of a configuration that Validate holds good. A limit remembers at most remember devices' metrics,
// and lets pass what it has no room for.
func New(cfg []Config, remember int) Chain {
	var c Chain
	for _, one := range cfg {
		w := where{one.Devices, one.Metric}
		switch {
		case one.Drop:
			c = append(c, drop{w})
		case one.Rename != "":
			c = append(c, rename{w, one.Rename})
		default:
			c = append(c, &limit{where: w, every: one.Every.Milliseconds(), room: remember, last: map[series]int64{}})
		}
	}
	return c
}

// where tells whom a rule is for.
type where struct{ devices, metric string }

func (w where) holds(r *Reading) bool {
	return matches(w.devices, r.Device) && matches(w.metric, r.Metric)
}

func matches(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, _ := path.Match(pattern, s) // Validate has looked at the pattern
	return ok
}

type drop struct{ where }

func (d drop) Apply(r *Reading) bool { return !d.holds(r) }

type rename struct {
	where
	to string
}

func (n rename) Apply(r *Reading) bool {
	if n.holds(r) {
		r.Metric = n.to
	}
	return true
}

type series struct{ device, metric string }

// limit thins out. A reading that is older than the last one kept passes: it is late, not too much.
type limit struct {
	where
	every int64 // ms
	room  int
	last  map[series]int64
}

func (l *limit) Apply(r *Reading) bool {
	if !l.holds(r) {
		return true
	}
	s := series{r.Device, r.Metric}
	last, known := l.last[s]
	switch {
	case known && r.At >= last && r.At-last < l.every:
		return false
	case known && r.At < last, !known && len(l.last) >= l.room:
		return true
	}
	l.last[s] = r.At
	return true
}
