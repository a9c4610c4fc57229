package fast

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/world"
	"muster.dev/platform/eventlog"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

// Profile is what the devices of one make measure: a table of the store.
type Profile struct {
	No      uint16
	Name    string
	Class   uint8
	Metrics []event.SchemaMetric
}

// The generations of the topics on a log that a simulation has made: as the registry counts them.
const (
	GenOfTelemetry = 1
	GenOfEvents    = 2
)

// member is a device as the gateways know it.
type member struct {
	no        uint32
	partition int32
	key       []byte
	stamp     []byte
}

// fleet is the registry's side of a world.
type fleet struct {
	world    *world.World
	regions  []string
	region   []int // of each cohort, in regions
	profiles []Profile
	profile  []uint16 // of each cohort
	members  []member // by index
	due      []change // of the registry, by time
}

// change is an event of the registry that is due at an instant.
type change struct {
	at   int64
	body event.Body
	why  string
}

// Profiles are the makes of a scenario's devices, numbered from 1.
func Profiles(s *scenario.Scenario) []Profile {
	var list []Profile
	for i := range s.Cohorts {
		c := &s.Cohorts[i]
		name := ProfileName(c)
		at := slices.IndexFunc(list, func(p Profile) bool { return p.Name == name })
		if at < 0 {
			at = len(list)
			list = append(list, Profile{No: uint16(len(list) + 1), Name: name, Class: classOf(c.Class)})
		}
		for _, m := range c.Metrics {
			if !slices.ContainsFunc(list[at].Metrics, func(x event.SchemaMetric) bool { return x.Name == m.Name }) {
				list[at].Metrics = append(list[at].Metrics, metricOf(m))
			}
		}
	}
	return list
}

// ProfileName is a cohort's profile as a table's name has it.
func ProfileName(c *scenario.Cohort) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, cmp.Or(c.Profile, c.Name))
	if name[0] < 'a' || name[0] > 'z' {
		name = "p" + name
	}
	return name[:min(len(name), 31)]
}

func metricOf(m scenario.Metric) event.SchemaMetric {
	out := event.SchemaMetric{Name: m.Name}
	switch m.Kind {
	case "float":
		out.Kind = batch.Float
	case "switch":
		out.Kind = batch.Bool
	case "state":
		out.Kind = batch.Text
	case "gauge":
		out.Scale = uint8(m.Decimals)
	}
	return out
}

func classOf(name string) uint8 {
	return uint8(max(0, slices.Index([]string{"standard", "debug", "audit", "cold"}, name)))
}

func newFleet(w *world.World, partitions int32, ids map[string]eventlog.TopicID) (*fleet, error) {
	s := w.Scenario()
	f := &fleet{world: w, regions: s.Regions(), profiles: Profiles(s), members: make([]member, len(w.Devices()))}
	for i := range s.Cohorts {
		c := &s.Cohorts[i]
		f.region = append(f.region, slices.Index(f.regions, c.Region))
		f.profile = append(f.profile, f.profiles[slices.IndexFunc(f.profiles, func(p Profile) bool { return p.Name == ProfileName(c) })].No)
	}
	f.declare(ids, partitions)
	return f, f.enrol(partitions)
}

// declare says what there is before the first device.
func (f *fleet) declare(ids map[string]eventlog.TopicID, partitions int32) {
	s, at := f.world.Scenario(), f.world.Begins()
	say := func(why string, body event.Body) { f.due = append(f.due, change{at, body, why}) }
	for i, t := range eventlog.Topics(partitions, true) {
		id := ids[t.Name]
		say("the simulation's log", event.TopicDefined{Name: t.Name, ID: id[:], Gen: uint16(i + 1), Partitions: t.Partitions})
	}
	for _, r := range f.regions {
		say("region of the scenario", event.RegionDefined{Region: r, Gateway: gatewayName(r) + ":8443"})
	}
	for _, p := range f.profiles {
		say("profile of the scenario", event.ProfileDefined{Profile: p.No, Name: p.Name, Class: p.Class})
		for _, m := range p.Metrics {
			say("metric of the scenario", event.MetricAdded{Profile: p.No, Metric: m.Name, Kind: m.Kind, Scale: m.Scale})
		}
	}
	for i := range s.Cohorts {
		c := &s.Cohorts[i]
		say("cohort of the scenario", event.CohortDefined{Cohort: c.Name, Interval: c.Interval.Milliseconds(), Region: c.Region, Sleep: SleepOf(c.Sleep)})
	}
}

// SleepOf is a planned sleep as the registry has it, which knows minutes of the days of a week: a period of whole minutes that divides
// the week has a sleep for each of its times, up to so many as a cohort may have. Of other periods the registry is not told.
func SleepOf(s *scenario.Sleep) []event.Sleep {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	if s == nil || s.Every <= 0 || week%s.Every != 0 || s.Every%time.Minute != 0 || s.For >= s.Every || s.For < time.Minute {
		return nil
	}
	piece := s.For
	if s.For >= day { // a sleep of the registry's ends within a day: a longer one is made of several
		piece = day / 2
	}
	var out []event.Sleep
	for at := time.Duration(s.From) % s.Every; at < week; at += s.Every {
		for from := at; from < at+s.For; from += piece {
			// Periods begin with Unix time, which begins on a Thursday; the registry's week begins on Monday.
			weekday := (int(from/day) + 3) % 7
			minute, until := from%day, (from+min(piece, at+s.For-from))%day
			one := event.Sleep{Days: 1 << weekday, From: uint16(minute / time.Minute), To: uint16(until / time.Minute)}
			if i := slices.IndexFunc(out, func(o event.Sleep) bool { return o.From == one.From && o.To == one.To }); i >= 0 {
				out[i].Days |= one.Days
			} else {
				out = append(out, one)
			}
		}
	}
	if len(out) > event.MaxSleep {
		return nil
	}
	return out
}

// enrol numbers the devices in the order in which they come, and says when they come and go.
func (f *fleet) enrol(partitions int32) error {
	devices := f.world.Devices()
	if len(devices) > maxDevices {
		return fmt.Errorf("%d devices: fast time takes at most %d", len(devices), maxDevices)
	}
	s := f.world.Scenario()
	order := make([]int, len(devices))
	byID := make(map[string]int, 16)
	for i := range order {
		order[i] = i
		if devices[i].Replaces != "" {
			byID[devices[i].Replaces] = -1
		}
	}
	for i := range devices {
		if _, ok := byID[devices[i].ID]; ok {
			byID[devices[i].ID] = i
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(devices[a].Joins, devices[b].Joins) })
	replaced := map[int]bool{}
	for n, i := range order {
		d := &devices[i]
		c := &s.Cohorts[d.Cohort]
		m := &f.members[i]
		m.no, m.key = uint32(n+1), []byte(d.ID)
		m.partition = eventlog.PartitionOf(m.key, partitions)
		m.stamp = record.Device{No: m.no, Profile: f.profile[d.Cohort], Class: classOf(c.Class), History: c.History}.Append(nil)
		attributes := map[string]string{"site": fmt.Sprint(d.Site + 1)}
		for key, value := range map[string]string{"model": c.Model, "hardware": c.Hardware} {
			if value != "" {
				attributes[key] = value
			}
		}
		f.due = append(f.due, change{d.Joins, event.DeviceEnrolled{
			Device: d.ID, No: m.no, Cohort: c.Name, Class: classOf(c.Class), Profile: f.profile[d.Cohort], History: c.History,
			Interval: c.Interval.Milliseconds(), Region: c.Region, Method: "operator", Attributes: attributes,
		}, "device of the scenario"})
		if old, ok := byID[d.Replaces]; ok && d.Replaces != "" && old >= 0 {
			f.due = append(f.due, change{d.Joins, event.DeviceReplaced{Old: f.members[old].no, New: m.no}, "another took its place"})
			replaced[old] = true
		}
	}
	for _, i := range order {
		if at := devices[i].Leaves; at != chance.Never && !replaced[i] {
			f.due = append(f.due, change{at, event.DeviceRevoked{No: f.members[i].no}, "it was taken down"})
		}
	}
	f.rollOut()
	slices.SortStableFunc(f.due, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	return nil
}

// gatewayName is the name of a region's gateway.
func gatewayName(region string) string { return "gateway-" + region }
