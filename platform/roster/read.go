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
			out = append(out, *d)
		}
		return out
	})
}

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
