package roster

import "muster.dev/proto/identity"

func held[T any](r *Roster, read func(*State) T) T {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return read(r.state)
}

// Device finds a device by its id.
func (r *Roster) Device(id identity.Device) (Device, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Device(id)
}

// DeviceByNo finds a device by its number.
func (r *Roster) DeviceByNo(no uint32) (Device, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.DeviceByNo(no)
}

// DevicesAfter is up to limit devices with numbers above no, in order: a whole fleet is read in pieces, so that
// no reader holds up the fold.
func (r *Roster) DevicesAfter(no uint32, limit int) []Device {
	return held(r, func(s *State) []Device {
		var out []Device
		for no++; no != 0 && len(out) < limit; no++ {
			d := s.devices.at(no)
			if d == nil {
				break
			}
			out = append(out, s.seen(d))
		}
		return out
	})
}

// DeviceBySerial finds the device that was given the certificate, unless that is forgotten.
func (r *Roster) DeviceBySerial(serial string) (Device, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.DeviceBySerial(serial)
}

// Standing says whether a certificate speaks for a device now, see State.Standing.
func (r *Roster) Standing(id identity.Device, serial string, spki [32]byte) (Device, Standing) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Standing(id, serial, spki)
}

// Version changes with every event that is folded in, and costs no lock: who asks for it before Standing may keep the
// answer for as long as it is the same.
func (r *Roster) Version() uint64 { return r.version.Load() }

// Cohorts is every cohort that was defined or has had a device, by name.
func (r *Roster) Cohorts() []Cohort { return held(r, (*State).Cohorts) }

// Cohort finds a cohort.
func (r *Roster) Cohort(name string) (Cohort, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Cohort(name)
}

// Groups is every group, by name.
func (r *Roster) Groups() []Group { return held(r, (*State).Groups) }

// GroupsOf is the groups that a device is in, by name.
func (r *Roster) GroupsOf(d Device) []string {
	return held(r, func(s *State) []string { return s.GroupsOf(d) })
}

// Regions is every region, by name.
func (r *Roster) Regions() []Region { return held(r, (*State).Regions) }

// Region finds the gateway that takes a region's devices.
func (r *Roster) Region(name string) (gateway string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Region(name)
}

// Issuers is every issuer, in the order in which they were defined.
func (r *Roster) Issuers() []Issuer { return held(r, (*State).Issuers) }

// Rev is the revision of what the tables look like, see State.Rev.
func (r *Roster) Rev() uint64 { return held(r, (*State).Rev) }

// ProfileAt is a profile as it was at a revision, see State.ProfileAt.
func (r *Roster) ProfileAt(no uint16, rev uint64) (Profile, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.ProfileAt(no, rev)
}

// Profiles is every profile as it is now, by number.
func (r *Roster) Profiles() []Profile { return held(r, (*State).Profiles) }

// Schema finds a schema.
func (r *Roster) Schema(id uint32) (Schema, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Schema(id)
}

// Topics is every topic that there ever was, by generation.
func (r *Roster) Topics() []Topic { return held(r, (*State).Topics) }

// TopicGen is the generation of a topic's id.
func (r *Roster) TopicGen(id [16]byte) (uint16, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.TopicGen(id)
}

// Counts is how much there is.
func (r *Roster) Counts() Counts { return held(r, (*State).Counts) }

// Ignored is how many records were ignored, by reason.
func (r *Roster) Ignored() map[Reason]uint64 { return held(r, (*State).Ignored) }
