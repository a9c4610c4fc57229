package roster

import (
	"maps"
	"slices"

	"muster.dev/platform/snapshot"
	"muster.dev/proto/event"
	"muster.dev/proto/identity"
)

// acting is for whom an agent may speak beside itself. It is replaced whole, never changed.
type acting struct {
	devices []uint32 // ascending
	cohort  uint32   // place; 0 is none
}

// Acting is for whom an agent may speak beside itself.
type Acting struct {
	Agent   uint32
	Devices []uint32 // ascending; not to be written to
	Cohort  string   // empty is none
}

func (s *State) grantActing(b event.ActingGranted, dry bool) (Change, error) {
	agent := s.devices.at(b.Agent)
	switch {
	case agent == nil:
		return Change{}, ignore(Missing, "let %d act: there is no such device", b.Agent)
	case agent.Revoked:
		return Change{}, ignore(Conflict, "let %d act: it was revoked", b.Agent)
	}
	if n := len(b.Devices); n > 0 && b.Devices[n-1] > s.devices.n {
		return Change{}, ignore(Missing, "let %d act for %d: there is no such device", b.Agent, b.Devices[n-1])
	}
	var place uint32
	if b.Cohort != "" {
		var ok bool
		if place, ok = s.places[b.Cohort]; !ok {
			return Change{}, ignore(Missing, "let %d act for cohort %.80q: there is no such cohort", b.Agent, b.Cohort)
		}
	}
	if !dry {
		s.acting[b.Agent] = &acting{devices: slices.Clone(b.Devices), cohort: place}
	}
	return Change{Device: s.seen(agent)}, nil
}

func (s *State) withdrawActing(b event.ActingWithdrawn, dry bool) (Change, error) {
	agent := s.devices.at(b.Agent)
	if agent == nil {
		return Change{}, ignore(Missing, "let %d act no more: there is no such device", b.Agent)
	}
	if !dry {
		delete(s.acting, b.Agent)
	}
	return Change{Device: s.seen(agent)}, nil
}

// Acting is for whom an agent may speak; one that speaks for nobody has none.
func (s *State) Acting(agent uint32) (Acting, bool) {
	a := s.acting[agent]
	if a == nil {
		return Acting{}, false
	}
	return Acting{Agent: agent, Devices: a.devices, Cohort: s.cohorts[a.cohort].Name}, true
}

// Agents is how many devices may speak for others.
func (s *State) Agents() int { return len(s.acting) }

// AgentsFor is who may speak for a device beside itself, by number. It looks at every agent that there is.
func (s *State) AgentsFor(no uint32) []uint32 {
	var out []uint32
	for agent := range s.acting {
		if agent != no && s.hasRight(agent, no) {
			out = append(out, agent)
		}
	}
	slices.Sort(out)
	return out
}

// ActFor finds a device that an agent would speak for, and says whether it may now. Whoever has no right to a device hears
// Unknown, and learns nothing of it, not even whether it exists; whoever has one hears why it does not count now. The
// device comes back for every answer but Unknown.
func (s *State) ActFor(agent uint32, id identity.Device) (Device, Standing) {
	no := s.ids[id]
	if !s.hasRight(agent, no) {
		return Device{}, Unknown
	}
	d := s.seen(s.devices.at(no))
	switch {
	case d.Revoked:
		return d, DeviceRevoked
	case d.Quarantined:
		return d, Quarantined
	}
	return d, Good
}

// MayActFor says whether an agent may speak for a device now. What the device is now counts, not what d says of it but
// its number. A device that is in good standing speaks for itself.
func (s *State) MayActFor(agent uint32, d *Device) bool {
	if !s.hasRight(agent, d.No) {
		return false
	}
	to := s.devices.at(d.No)
	return !to.Revoked && !to.Quarantined && !s.cohorts[to.cohort].Quarantined
}

// hasRight says whether an agent that is in good standing has a right to a device, whatever became of that.
func (s *State) hasRight(agent, no uint32) bool {
	a, d := s.devices.at(agent), s.devices.at(no)
	if a == nil || d == nil || a.Revoked || a.Quarantined || s.cohorts[a.cohort].Quarantined {
		return false
	}
	if agent == no {
		return true
	}
	granted := s.acting[agent]
	if granted == nil {
		return false
	}
	if granted.cohort != 0 && granted.cohort == d.cohort {
		return true
	}
	_, named := slices.BinarySearch(granted.devices, no)
	return named
}

// Acting is for whom an agent may speak; one that speaks for nobody has none.
func (r *Roster) Acting(agent uint32) (Acting, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Acting(agent)
}

// ActFor finds a device that an agent would speak for, see State.ActFor.
func (r *Roster) ActFor(agent uint32, id identity.Device) (Device, Standing) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.ActFor(agent, id)
}

// MayActFor says whether an agent may speak for a device now, see State.MayActFor.
func (r *Roster) MayActFor(agent uint32, d *Device) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.MayActFor(agent, d)
}

// agentsOfSection keeps a section of a snapshot below what one may have: an agent has 5 KB at most.
const agentsOfSection = 1_000

// grant is an agent and for whom it may speak.
type grant struct {
	agent uint32
	*acting
}

func writeActing(b *snapshot.Buffer, all []grant) {
	b.Uint(uint64(len(all)))
	for _, g := range all {
		b.Uint(uint64(g.agent))
		b.Uint(uint64(g.cohort))
		b.Uint(uint64(len(g.devices)))
		var before uint32
		for _, no := range g.devices {
			b.Uint(uint64(no - before))
			before = no
		}
	}
}

func (l *loader) acting(c *snapshot.Cursor) {
	s := l.s
	for range c.Count(3) {
		agent, a := uint32(c.Uint()), &acting{cohort: uint32(c.Uint())}
		var last uint64
		for range c.Count(1) {
			step := c.Uint()
			if last += step; step == 0 || step > uint64(s.devices.n) || last > uint64(s.devices.n) {
				l.refuse("agent %d acts for device %d after %d, of %d", agent, last, last-step, s.devices.n)
				return
			}
			a.devices = append(a.devices, uint32(last))
		}
		if c.Err() != nil {
			return
		}
		if s.devices.at(agent) == nil || int(a.cohort) >= len(s.cohorts) || s.acting[agent] != nil {
			l.refuse("agent %d of %d, acting for cohort %d, cannot be", agent, s.devices.n, a.cohort)
			return
		}
		s.acting[agent] = a
	}
}

// grants is all that may speak for others, by number.
func (s *State) grants() []grant {
	out := make([]grant, 0, len(s.acting))
	for _, no := range slices.Sorted(maps.Keys(s.acting)) {
		out = append(out, grant{no, s.acting[no]})
	}
	return out
}
