package plan

import (
	"slices"

	"muster.dev/fleet/scenario"
	"muster.dev/fleet/simulator/chance"
)

// Version is a firmware version.
type Version struct {
	Name string
	Is   *scenario.Firmware // how it behaves; nil is well
}

// Version is what runs under a number.
func (p *Plan) Version(no uint16) *Version { return &p.versions[no] }

// VersionNo is the number of a version that a cohort begins with or a rollout brings.
func (p *Plan) VersionNo(name string) uint16 {
	return uint16(slices.IndexFunc(p.versions, func(v Version) bool { return v.Name == name }))
}

// listVersions numbers the versions, those of cohorts first.
func (p *Plan) listVersions() {
	list := func(name string) {
		if !slices.ContainsFunc(p.versions, func(v Version) bool { return v.Name == name }) {
			p.versions = append(p.versions, Version{name, p.s.FirmwareNamed(name)})
		}
	}
	for i := range p.s.Cohorts {
		list(p.s.Cohorts[i].Firmware)
	}
	for i := range p.s.Rollouts {
		list(p.s.Rollouts[i].Firmware)
		p.rollouts[i].Brings = p.VersionNo(p.s.Rollouts[i].Firmware)
	}
}

// Traits are what a version does to one device. They are a function of seed, device and version, so that whoever asks
// gets the same answer.
type Traits struct {
	Crashes, Silent, Leaks, Drains, Errors bool
	Shifts                                 uint64 // a bit for each of the version's shifts
}

// TraitsOf gives what a version does to a device.
func (p *Plan) TraitsOf(device int, v uint16) (t Traits) {
	f := p.versions[v].Is
	if f == nil {
		return t
	}
	var odds [5]float64
	if f.Crashes != nil {
		odds[0] = float64(f.Crashes.Chance)
	}
	if f.Silent != nil {
		odds[1] = float64(f.Silent.Chance)
	}
	if f.Leaks != nil {
		odds[2] = float64(f.Leaks.Chance)
	}
	if f.Drains != nil {
		odds[3] = float64(f.Drains.Chance)
	}
	if f.Errors != nil {
		odds[4] = float64(f.Errors.Chance)
	}
	d := chance.Roll(p.seed, chance.ForVersion, device, int(v))
	for i, has := range []*bool{&t.Crashes, &t.Silent, &t.Leaks, &t.Drains, &t.Errors} {
		*has = d.Unit() < odds[i] // each draws, so that one more changes no other
	}
	for i := range f.Shifts {
		if d.Unit() < float64(f.Shifts[i].Chance) {
			t.Shifts |= 1 << i
		}
	}
	return t
}
