package roster

// stored is a device as it is kept: Region, Interval and Quarantined are its own, the cohort's come with seen.
type stored struct {
	Device
	cohort uint32 // place
}

// seen is a device as everybody sees it.
func (s *State) seen(d *stored) Device {
	out, c := d.Device, &s.cohorts[d.cohort]
	out.Cohort = c.Name
	out.Quarantined = out.Quarantined || c.Quarantined
	if out.Interval == 0 {
		out.Interval = c.Interval
	}
	if out.Region == "" {
		out.Region = c.Region
	}
	return out
}

// devices is all devices by number, in pieces that never move: a million of them are not copied as they grow. A piece
// that is shared with a frozen state is copied before it is changed.
type devices struct {
	n      uint32
	pieces [][]stored
	shared []bool
}

const piece = 4096

// at finds a device, to be read only.
func (d *devices) at(no uint32) *stored {
	if no == 0 || no > d.n {
		return nil
	}
	return &d.pieces[(no-1)/piece][(no-1)%piece]
}

// edit finds a device that is there, to be changed.
func (d *devices) edit(no uint32) *stored {
	p := (no - 1) / piece
	if d.shared[p] {
		own := make([]stored, piece)
		copy(own, d.pieces[p])
		d.pieces[p], d.shared[p] = own, false
	}
	return &d.pieces[p][(no-1)%piece]
}

// add needs no copy of a shared piece: what is frozen ends before it.
func (d *devices) add(device stored) {
	if d.n%piece == 0 {
		d.pieces, d.shared = append(d.pieces, make([]stored, piece)), append(d.shared, false)
	}
	d.n++
	d.pieces[(d.n-1)/piece][(d.n-1)%piece] = device
}

// Own is a device as it is by itself, without what it has from its cohort.
func (s *State) Own(no uint32) (Device, bool) {
	d := s.devices.at(no)
	if d == nil {
		return Device{}, false
	}
	out := d.Device
	out.Cohort = s.cohorts[d.cohort].Name
	return out, true
}
