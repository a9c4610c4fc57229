package anomaly

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"muster.dev/services/anomaly/deliver"
	"muster.dev/services/anomaly/judge"
	"muster.dev/services/anomaly/shard"
)

func TestTheDefaultsCanBeUsed(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestAConfigurationThatCannotWorkNamesItsKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"log.brokers":                        func(c *Config) { c.Log.Brokers = nil },
		"warehouse":                          func(c *Config) { c.Warehouse.Addr = "" },
		"detect.off":                         func(c *Config) { c.Detect.Off = []string{"silences"} },
		"detect.lateness":                    func(c *Config) { c.Detect.Lateness = time.Hour },
		"detect.silence: false":              func(c *Config) { c.Detect.Silence.False = 0 },
		"detect.silence.grace":               func(c *Config) { c.Detect.Silence.Grace = -1 },
		"detect.update.silent_interval":      func(c *Config) { c.Detect.Update.SilentIntervals = 0 },
		"detect.update.silent_at_least":      func(c *Config) { c.Detect.Update.SilentAtLeast = -1 },
		"detect.update.rollouts":             func(c *Config) { c.Detect.Update.Rollouts = 0 },
		"detect.series.budget":               func(c *Config) { c.Detect.Series.Budget = -1 },
		"detect.series.false_per_1000_weeks": func(c *Config) { c.Detect.Series.False = 0 },
		"memory_mib":                         func(c *Config) { c.Memory = -1 },
		"detect.series.threshold":            func(c *Config) { c.Detect.Series.Threshold = math.NaN() },
		"detect.security":                    func(c *Config) { c.Detect.Security.Knocks = 0 },
		"detect.security.times":              func(c *Config) { c.Detect.Security.Times = 0 },
		"detect.incidents.max_open":          func(c *Config) { c.Detect.Incidents.MaxOpen = 0 },
		"detect.incidents.runbooks":          func(c *Config) { c.Detect.Incidents.Runbooks = "https://git.example.com/runbooks" },
		"follow.group":                       func(c *Config) { c.Follow.Group = "" },
		"deliver.session":                    func(c *Config) { c.Deliver.Session = 0 },
		"deliver.routes":                     func(c *Config) { c.Deliver.Routes = []deliver.Route{{Name: "pager"}} },
	} {
		cfg := DefaultConfig()
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// What was measured was measured with the rooms' own defaults.
func TestAConfigurationThatSaysNothingMakesTheDetectorsThatWereMeasured(t *testing.T) {
	s, j := DefaultConfig().Detect.Settings()
	if want := shard.DefaultSettings(); !reflect.DeepEqual(s, want) {
		t.Errorf("shards are made with %+v, not %+v", s, want)
	}
	if want := judge.DefaultSettings(); !reflect.DeepEqual(j, want) {
		t.Errorf("the judge is made with %+v, not %+v", j, want)
	}
}

func TestAPagesNameMayFollowAFolderOrAQuery(t *testing.T) {
	for _, base := range []string{"https://git.example.com/muster/docs/runbooks/", "https://wiki.example.com/?page=", ""} {
		cfg := DefaultConfig()
		cfg.Detect.Incidents.Runbooks = base
		_, judge := cfg.Detect.Settings()
		if err := cfg.Validate(); err != nil || judge.Incident.Runbooks != base {
			t.Errorf("%q: %v, and the judge has %q", base, err, judge.Incident.Runbooks)
		}
	}
}

func TestWhatIsSetReachesTheDetectors(t *testing.T) {
	d := DefaultConfig().Detect
	d.Off, d.Silence.False, d.Spend.PerMillion, d.Series.Budget, d.Security.Knocks = []string{"spend"}, 10, 2.5, 7, 99
	s, j := d.Settings()
	if !s.Off.Spend || s.Off.Silence || s.Silence.False != 10 || j.Silence.False != 10 || j.Spend.PerMillion != 2.5 || s.Series.Series != 7 || j.Security.Knocks != 99 {
		t.Errorf("%+v %+v", s, j)
	}
}
