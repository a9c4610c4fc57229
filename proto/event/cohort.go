package event

import "muster.dev/proto/batch"

// The ce_types of what is said of many devices at once.
const (
	TypeCohortDefined     = "muster.registry.cohort-defined.v1"
	TypeCohortRevoked     = "muster.registry.cohort-revoked.v1"
	TypeCohortQuarantined = "muster.registry.cohort-quarantined.v1"
	TypeGroupDefined      = "muster.registry.group-defined.v1"
	TypeGroupRemoved      = "muster.registry.group-removed.v1"
	TypeRegionDefined     = "muster.registry.region-defined.v1"
)

// CohortDefined says what holds for a cohort's devices that have nothing of their own. A cohort is there without it.
type CohortDefined struct {
	Cohort   string  `msgpack:"cohort"`
	Interval int64   `msgpack:"interval_ms"` // between heartbeats; 0 = unknown
	Region   string  `msgpack:"region"`      // empty = any
	Sleep    []Sleep `msgpack:"sleep"`       // planned
}

// CohortRevoked revokes all devices that are in the cohort, at once, and closes it.
type CohortRevoked struct {
	Cohort string `msgpack:"cohort"`
}

// CohortQuarantined holds off all devices of a cohort, those that come to it too, or lets them in again.
type CohortQuarantined struct {
	Cohort string `msgpack:"cohort"`
	On     bool   `msgpack:"on"`
}

// GroupDefined gives a name to a selector over attributes, for reports.
type GroupDefined struct {
	Group    string `msgpack:"group"`
	Selector string `msgpack:"selector"`
}

// GroupRemoved takes the name back.
type GroupRemoved struct {
	Group string `msgpack:"group"`
}

// RegionDefined names the gateway that takes a region's devices.
type RegionDefined struct {
	Region  string `msgpack:"region"`
	Gateway string `msgpack:"gateway"` // host:port, or a URL
}

// Type is the ce_type.
func (CohortDefined) Type() string { return TypeCohortDefined }

// Type is the ce_type.
func (CohortRevoked) Type() string { return TypeCohortRevoked }

// Type is the ce_type.
func (CohortQuarantined) Type() string { return TypeCohortQuarantined }

// Type is the ce_type.
func (GroupDefined) Type() string { return TypeGroupDefined }

// Type is the ce_type.
func (GroupRemoved) Type() string { return TypeGroupRemoved }

// Type is the ce_type.
func (RegionDefined) Type() string { return TypeRegionDefined }

// MaxSleep is the number of planned sleeps that a cohort may have: one an hour.
const MaxSleep = 24

// Sleep is a time of the week at which silence is planned.
type Sleep struct {
	Days uint8  `msgpack:"days"` // on which it begins: bit 0 is Monday
	From uint16 `msgpack:"from"` // minute of the day, UTC
	To   uint16 `msgpack:"to"`   // exclusive; before From it lies on the next day
}

func (s Sleep) validate() *batch.Error {
	switch {
	case s.Days == 0 || s.Days > 127:
		return bad("sleep.days", "must be 1 to 127, a bit a day")
	case s.From >= 24*60 || s.To >= 24*60 || s.From == s.To:
		return bad("sleep", "must go from one minute of the day to another, each 0 to 1439")
	}
	return nil
}

func (c CohortDefined) validate() *batch.Error {
	switch {
	case !Name(c.Cohort):
		return notName("cohort", c.Cohort)
	case c.Interval < 0 || c.Interval > MaxInterval:
		return bad("interval_ms", "must be 0 to a year")
	case c.Region != "" && !Name(c.Region):
		return notName("region", c.Region)
	case len(c.Sleep) > MaxSleep:
		return refuse(batch.Unprocessable, "sleep", "has too many times", MaxSleep)
	}
	for _, s := range c.Sleep {
		if err := s.validate(); err != nil {
			return err
		}
	}
	return nil
}

// normal makes what was left out and what was written as nothing the same.
func (c *CohortDefined) normal() {
	if len(c.Sleep) == 0 {
		c.Sleep = nil
	}
}

func (c CohortRevoked) validate() *batch.Error     { return checkName("cohort", c.Cohort) }
func (c CohortQuarantined) validate() *batch.Error { return checkName("cohort", c.Cohort) }
func (g GroupRemoved) validate() *batch.Error      { return checkName("group", g.Group) }

// Whether the selector can be read is for the fold to judge: here it is a text.
func (g GroupDefined) validate() *batch.Error {
	if g.Selector == "" {
		return bad("selector", "is missing")
	}
	if err := checkText("selector", g.Selector); err != nil {
		return err
	}
	return checkName("group", g.Group)
}

func (r RegionDefined) validate() *batch.Error {
	if len(r.Gateway) > 256 {
		return refuse(batch.Unprocessable, "gateway", "is too long", 256)
	}
	if err := checkText("gateway", r.Gateway); err != nil {
		return err
	}
	return checkName("region", r.Region)
}
