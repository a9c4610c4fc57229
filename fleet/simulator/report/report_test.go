package report

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	minute = int64(time.Minute / time.Millisecond)
	hour   = 60 * minute
)

var begins = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixMilli()

func at(d, h int64) int64 { return begins + d*day + h*hour }

// pilot is two cohorts over two days. What each device said is stored once.
func pilot() Facts {
	f := Facts{
		Scenario: "pilot", Seed: 3, Fast: true, Begins: begins, Until: at(2, 0), Took: 2 * time.Second, Settled: 5 * time.Second,
		Cohorts: []Cohort{{Name: "north", Interval: 10 * time.Minute}, {Name: "field", Interval: time.Hour, Sleep: &Sleep{Every: 24 * time.Hour, From: 22 * time.Hour, For: 5 * time.Hour}}},
		Lags:    []Lag{{P50: 200 * time.Millisecond, P99: 3 * time.Second, Max: time.Minute}, {P50: time.Second, P99: time.Hour, Max: 2 * time.Hour}, {P50: 300 * time.Millisecond, P99: 30 * time.Second, Max: 2 * time.Hour}},
		Disk:    Disk{Log: 40_000, Store: 20_000, Tables: map[string]uint64{"ledger": 20_000}},
	}
	for i, id := range []string{"north-1", "north-2", "field-1"} {
		m := Member{ID: id, Cohort: i / 2, Region: []string{"eu", "eu", "us"}[i], From: begins, Until: f.Until}
		m.Told = Told{Made: 280, Arrived: 270, Lost: 10, Again: 2}
		for seq := range uint64(270) {
			m.Told.Telemetry.Add(1, seq, uint32(seq*seq))
		}
		m.Heard = Heard{Telemetry: m.Told.Telemetry, Duplicates: 2, Values: 810, Bytes: 27_000}
		f.Members = append(f.Members, m)
	}
	return f
}

func TestWhoseASilenceIs(t *testing.T) {
	spell := func(member int, from, until int64, class Class) Spell {
		return Spell{Member: member, From: from, Until: until, Class: class, Kind: string(class)}
	}
	wide := spell(-1, at(0, 10), at(0, 12), Pipeline)
	wide.Region = "eu"
	for _, c := range []struct {
		name    string
		silence Silence
		spells  []Spell
		lost    []uint32
		want    Class
	}{
		{"nothing explains it", Silence{0, at(0, 10), at(0, 12), 11}, nil, nil, Unexplained},
		{"the device had no power", Silence{0, at(0, 10), at(0, 12), 11}, []Spell{spell(0, at(0, 10), at(0, 12), Device)}, nil, Device},
		{"another device's cause is none", Silence{0, at(0, 10), at(0, 12), 11}, []Spell{spell(1, at(0, 10), at(0, 12), Device)}, nil, Unexplained},
		{"a gateway was out", Silence{0, at(0, 10), at(0, 12), 11}, []Spell{wide}, nil, Pipeline},
		{"a gateway of another region was out", Silence{2, at(0, 10), at(0, 12), 11}, []Spell{wide}, nil, Unexplained},
		{"the radio lost it", Silence{0, at(0, 10), at(0, 10) + 20*minute, 1}, nil, []uint32{36_600}, Radio},
		{"what the radio lost earlier is no cause", Silence{0, at(0, 10), at(0, 12), 11}, nil, []uint32{3_600}, Unexplained},
		{"a short reboot within a long loss is not the cause", Silence{0, at(0, 10), at(0, 20), 59}, []Spell{spell(0, at(0, 11), at(0, 11), Device)}, []uint32{40_000}, Radio},
		{"a reboot that makes one message come late", Silence{0, at(0, 10), at(0, 10) + 16*minute, 1}, []Spell{spell(0, at(0, 10)+5*minute, at(0, 10)+5*minute, Device)}, nil, Device},
		{"sleep was planned", Silence{2, at(0, 21), at(1, 3), 5}, nil, nil, Planned},
		{"sleep is planned for others", Silence{0, at(0, 21), at(1, 3), 35}, nil, nil, Unexplained},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := pilot()
			f.Silences, f.Spells = []Silence{c.silence}, c.spells
			f.Members[0].Told.LostAt = c.lost
			r := Make(f)
			for _, g := range r.Total.Gaps {
				if want := uint64(0); g.Class == c.want {
					if g.Count != 1 || g.Missed != c.silence.Missed {
						t.Errorf("%+v, want one of %d intervals", g, c.silence.Missed)
					}
				} else if g.Count != want {
					t.Errorf("it is %+v", g)
				}
			}
		})
	}
}

func TestWhatIsOnItsWayAtTheEndIsTheRadios(t *testing.T) {
	for _, c := range []struct {
		fast    bool
		held    []uint32 // seconds from the beginning
		waiting uint64
		before  int64 // the end
		want    Class
	}{
		{fast: true, held: []uint32{38_700}, before: 37 * hour, want: Radio},
		{fast: true, held: []uint32{3_600}, before: 37 * hour, want: Unexplained},
		{fast: true, waiting: 1, want: Unexplained}, // each is known by its time
		{want: Unexplained},
		{waiting: 1, want: Radio},
		{waiting: 1, before: 2 * minute, want: Radio},
		{waiting: 1, before: hour, want: Unexplained},
	} {
		f := pilot()
		f.Fast = c.fast
		f.Members[0].Told.Made += c.waiting
		f.Members[0].Told.HeldAt = c.held
		f.Silences = []Silence{{0, f.Until - c.before - 20*minute, f.Until - c.before, 1}}
		for _, g := range Make(f).Total.Gaps {
			if (g.Class == c.want) != (g.Count == 1) {
				t.Errorf("%+v: %+v", c, g)
			}
		}
	}
}

func TestPlannedSleepIsNotDue(t *testing.T) {
	f := pilot()
	f.Silences = []Silence{{2, at(0, 22), at(1, 3), 5}, {0, at(1, 0), at(1, 2), 12}}
	r := Make(f)
	if l := r.Cohorts[1]; l.Due != 48-5 || l.Heard != l.Due {
		t.Errorf("field: heard %d of %d", l.Heard, l.Due)
	}
	if l := r.Cohorts[0]; l.Due != 2*288 || l.Heard != l.Due-12 || l.Days[0] != 1 || l.Days[1] >= 1 {
		t.Errorf("north: heard %d of %d, by day %v", l.Heard, l.Due, l.Days)
	}
}

func TestTheCheckSeesEveryKindOfWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Member)
		want   func(Check) bool
	}{
		"nothing wrong": {func(*Member) {}, func(c Check) bool { return c.OK && c.Arrived == 810 && c.Stored == 810 }},
		"one missing": {func(m *Member) {
			m.Heard.Telemetry = Print{}
			for seq := range uint64(269) {
				m.Heard.Telemetry.Add(1, seq, uint32(seq*seq))
			}
		}, func(c Check) bool { return !c.OK && c.Missing == 1 && c.Unasked == 0 }},
		"one twice": {func(m *Member) { m.Heard.Telemetry.Add(1, 7, 49); m.Heard.Doubles = 1 }, func(c Check) bool { return !c.OK && c.Doubles == 1 && c.Unasked == 1 }},
		"one in another's place": {func(m *Member) {
			m.Heard.Telemetry = Print{}
			for seq := range uint64(270) {
				m.Heard.Telemetry.Add(1, seq, uint32(seq*seq)+uint32(seq/269))
			}
		}, func(c Check) bool { return !c.OK && c.Missing == 0 && len(c.Devices) == 1 && c.Devices[0] == "north-2" }},
		"a clone": {func(m *Member) { m.Heard.Telemetry = Print{}; m.Told.Cloned = 4 }, func(c Check) bool { return c.OK && c.Cloned == 1 && c.Arrived == 540 }},
	} {
		t.Run(name, func(t *testing.T) {
			f := pilot()
			c.change(&f.Members[1])
			if got := Make(f).Check; !c.want(got) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestWhatIsOverBeforeAnythingIsDueIsSaidSo(t *testing.T) {
	f := pilot()
	f.Until = f.Begins + minute
	for i := range f.Members {
		f.Members[i].Until, f.Members[i].Told, f.Members[i].Heard = f.Until, Told{}, Heard{}
	}
	got := Make(f).Text()
	if strings.Count(got, "nothing was due yet") != 3 || strings.Contains(got, "0 of 0") {
		t.Error(got)
	}
}

func TestTheText(t *testing.T) {
	f := pilot()
	f.Silences = []Silence{{2, at(0, 22), at(1, 3), 5}, {0, at(1, 0), at(1, 2), 12}, {1, at(1, 0), at(1, 0) + 20*minute, 1}}
	f.Spells = []Spell{{Member: 0, From: at(1, 0), Until: at(1, 2), Class: Device, Kind: "silent: power"}}
	f.Members[1].Told.LostAt = []uint32{uint32((day + 10*minute) / 1000)}
	f.Quarantine = []Quarantine{{"time_past", 1234, 1}, {"off_type", 1, 2}}
	f.Members = append(f.Members, Member{ID: "north-3", Cohort: 0, Region: "eu", From: at(1, 0), Until: f.Until})
	f.Silences = append(f.Silences, Silence{3, at(1, 0), f.Until, 144})
	f.Spells = append(f.Spells, Spell{Member: 3, From: at(1, 0), Until: f.Until, Class: Device, Kind: "silent: never"})
	got := Make(f).Text()
	path := filepath.Join("testdata", "pilot.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the text is\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(got) {
		if n := len([]rune(line)); n > 180 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	again, err := json.Marshal(Make(f))
	if err != nil || !strings.Contains(string(again), `"device_intervals_due":720`) {
		t.Errorf("%s, %v", again, err)
	}
}
