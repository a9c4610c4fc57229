package census

import (
	"math"
	"strings"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
)

func (s *State) fold(at int64, body event.Body) error {
	switch b := body.(type) {
	case event.DeviceEnrolled:
		return s.enrol(at, b)
	case event.DeviceRevoked:
		return s.end(b.No)
	case event.DeviceReplaced:
		return s.replace(b)
	case event.DeviceQuarantined:
		return s.holdOff(b)
	case event.DeviceMoved:
		return s.move(b)
	case event.DeviceDescribed:
		return s.describe(b)
	case event.CohortDefined:
		s.defineCohort(b)
	case event.CohortRevoked:
		return s.revokeCohort(b)
	case event.CohortQuarantined:
		return s.quarantineCohort(b)
	default:
		s.tell(Other, -1, -1, -1)
	}
	return nil
}

func (s *State) enrol(at int64, b event.DeviceEnrolled) error {
	if uint64(b.No) > uint64(len(s.fleet)) || b.No >= math.MaxInt32-1 {
		return s.ignore("enrol %s as %d: the next number is %d", b.Device, b.No, len(s.fleet))
	}
	fresh := int(b.No) == len(s.fleet)
	if !fresh && s.fleet[b.No] == ended {
		return s.ignore("enrol %s: it was revoked, which is for good", b.Device)
	}
	mine := eventlog.PartitionOf([]byte(b.Device), s.parts) == s.part
	i, known := s.Lookup([]byte(b.Device))
	if other, taken := s.LookupNo(b.No); known && s.devices[i].no != b.No || taken && (!known || other != i) {
		return s.ignore("enrol %s as %d: another device has that number, or it another one", b.Device, b.No)
	}
	if known && s.devices[i].flags&revoked != 0 {
		return s.ignore("enrol %s: it was revoked, which is for good", b.Device)
	}
	if c, ok := s.places[b.Cohort]; ok && s.cohorts[c].Revoked && (fresh || s.cohortOf(b.No) != c) {
		return s.ignore("enrol %s: cohort %.80q was revoked", b.Device, b.Cohort)
	}
	cohort := s.place(b.Cohort)
	k := s.kind(cohort, b.Interval)
	if fresh {
		s.fleet = append(s.fleet, unknown)
	}
	if !mine {
		if !fresh {
			s.count(s.fleet[b.No]-1, -1)
		}
		s.fleet[b.No] = 1 + k
		s.count(k, 1)
		return nil
	}
	if !known {
		if len(s.devices) == math.MaxInt32 {
			return s.ignore("enrol %s: a shard has no more room", b.Device)
		}
		s.devices = append(s.devices, device{
			enrolled: at, id: s.arena.add(b.Device), no: b.No, kind: k, length: uint8(len(b.Device)),
		})
		s.index()
		i = int32(len(s.devices) - 1)
		s.fleet[b.No] = own | uint32(i)
		s.count(k, 1)
		s.joins(i)
	}
	d := &s.devices[i]
	d.region, d.stratum = uint16(s.regions.add(b.Region)), s.stratum(b.Attributes)
	if known {
		s.become(i, k)
	}
	return nil
}

// joins tells of a new device.
func (s *State) joins(i int32) {
	cohort, active := s.CohortOf(i)
	if !active {
		s.tell(Described, i, cohort, -1)
		return
	}
	s.cohorts[cohort].Members++
	s.tell(Joined, i, cohort, -1)
}

// become gives a device of this shard another kind, and tells what that made of it.
func (s *State) become(i int32, k uint32) {
	was, counted := s.CohortOf(i)
	d := &s.devices[i]
	if k != d.kind {
		s.count(d.kind, -1)
		d.kind = k
		s.count(k, 1)
	}
	s.tellStep(i, was, counted)
}

// tellStep tells what became of a device that was in a cohort, and counted there or not.
func (s *State) tellStep(i, was int32, counted bool) {
	is, counts := s.CohortOf(i)
	if counted {
		s.cohorts[was].Members--
	}
	if counts {
		s.cohorts[is].Members++
	}
	switch {
	case counts && !counted:
		s.tell(Joined, i, is, was)
	case counted && !counts:
		s.tell(Left, i, is, was)
	case counts && is != was:
		s.tell(Moved, i, is, was)
	default:
		s.tell(Described, i, is, was)
	}
}

// known says whether a number was enrolled and not ended, and counts it as ignored if not.
func (s *State) known(no uint32, what string) error {
	if uint64(no) >= uint64(len(s.fleet)) || s.fleet[no] == unknown {
		return s.ignore("%s %d: there is no such device", what, no)
	}
	return nil
}

// cohortOf gives the cohort of a number that is known, -1 of one that has ended.
func (s *State) cohortOf(no uint32) int32 {
	switch at := s.fleet[no]; {
	case at == ended || at == unknown:
		return -1
	case at&own != 0:
		return s.kinds[s.devices[at&^own].kind].cohort
	default:
		return s.kinds[at-1].cohort
	}
}

// end revokes a device. To say it again is no error.
func (s *State) end(no uint32) error {
	if err := s.known(no, "revoke"); err != nil {
		return err
	}
	at := s.fleet[no]
	switch {
	case at == ended:
	case at&own == 0:
		s.fleet[no] = ended
		s.count(at-1, -1)
	default:
		i := int32(at &^ own)
		d := &s.devices[i]
		if d.flags&revoked != 0 {
			return nil
		}
		was, counted := s.CohortOf(i)
		d.flags |= revoked
		s.count(d.kind, -1)
		s.tellStep(i, was, counted)
	}
	return nil
}

// replace ends a device into whose place another one has come.
func (s *State) replace(b event.DeviceReplaced) error {
	for _, no := range []uint32{b.Old, b.New} {
		if err := s.known(no, "replace"); err != nil {
			return err
		}
	}
	if s.successor[b.Old] == b.New {
		return s.end(b.Old) // said again
	}
	if s.successor[b.Old] != 0 || s.successes[b.New] || s.over(b.New) {
		return s.ignore("replace %d by %d: one of them was replaced, or has replaced another, or is revoked", b.Old, b.New)
	}
	s.successor[b.Old], s.successes[b.New] = b.New, true
	return s.end(b.Old)
}

// over says whether a number that is known was revoked.
func (s *State) over(no uint32) bool {
	at := s.fleet[no]
	return at == ended || at&own != 0 && s.devices[at&^own].flags&revoked != 0
}

func (s *State) holdOff(b event.DeviceQuarantined) error {
	if err := s.known(b.No, "hold off"); err != nil {
		return err
	}
	i, mine := s.LookupNo(b.No)
	if !mine {
		return nil
	}
	was, counted := s.CohortOf(i)
	d := &s.devices[i]
	d.flags &^= heldOff
	if b.On {
		d.flags |= heldOff
	}
	s.tellStep(i, was, counted)
	return nil
}

func (s *State) move(b event.DeviceMoved) error {
	if err := s.known(b.No, "move"); err != nil {
		return err
	}
	if c, ok := s.places[b.Cohort]; ok && s.cohorts[c].Revoked && s.cohortOf(b.No) != c {
		return s.ignore("move %d: cohort %.80q was revoked", b.No, b.Cohort)
	}
	cohort := s.place(b.Cohort)
	at := s.fleet[b.No]
	switch {
	case at == ended:
	case at&own == 0:
		k := s.kind(cohort, s.kinds[at-1].interval)
		s.fleet[b.No] = 1 + k
		s.count(at-1, -1)
		s.count(k, 1)
	default:
		i := int32(at &^ own)
		d := &s.devices[i]
		k := s.kind(cohort, s.kinds[d.kind].interval)
		if d.flags&revoked != 0 {
			d.kind = k // it counts nowhere
			return nil
		}
		s.become(i, k)
	}
	return nil
}

func (s *State) describe(b event.DeviceDescribed) error {
	if err := s.known(b.No, "describe"); err != nil {
		return err
	}
	if i, mine := s.LookupNo(b.No); mine {
		s.devices[i].stratum = s.stratum(b.Attributes)
		cohort, _ := s.CohortOf(i)
		s.tell(Described, i, cohort, cohort)
	}
	return nil
}

// maxStratum bounds a stratum's name, in bytes.
const maxStratum = 128

func (s *State) stratum(attributes map[string]string) uint32 {
	site, model := attributes["site"], attributes["model"]
	if site == "" && model == "" {
		return 0
	}
	name := site + "|" + model
	return s.strata.add(strings.ToValidUTF8(name[:min(len(name), maxStratum)], ""))
}

func (s *State) defineCohort(b event.CohortDefined) {
	at := s.place(b.Cohort)
	c := &s.cohorts[at]
	c.defined, c.Region = b.Interval, b.Region
	c.sleep(b.Sleep)
	if !s.told(at) {
		s.tell(CohortChanged, -1, at, -1)
	}
}

func (s *State) revokeCohort(b event.CohortRevoked) error {
	c, ok := s.places[b.Cohort]
	if !ok {
		return s.ignore("revoke cohort %.80q: there is no such cohort", b.Cohort)
	}
	for no := range s.fleet {
		if no > 0 && s.cohortOf(uint32(no)) == c {
			_ = s.end(uint32(no)) // it is known
		}
	}
	s.cohorts[c].Revoked = true
	s.tell(CohortChanged, -1, c, -1)
	return nil
}

func (s *State) quarantineCohort(b event.CohortQuarantined) error {
	c, ok := s.places[b.Cohort]
	if !ok {
		return s.ignore("hold off cohort %.80q: there is no such cohort", b.Cohort)
	}
	if s.cohorts[c].Quarantined == b.On {
		return nil
	}
	for i := range s.devices {
		at := int32(i)
		was, counted := s.CohortOf(at)
		if was != c {
			continue
		}
		s.cohorts[c].Quarantined = b.On
		if _, counts := s.CohortOf(at); counts != counted {
			s.tellStep(at, was, counted)
		}
		s.cohorts[c].Quarantined = !b.On
	}
	s.cohorts[c].Quarantined = b.On
	s.tell(CohortChanged, -1, c, -1)
	return nil
}
