package event

import "muster.dev/proto/batch"

// The ce_types of who may speak for others.
const (
	TypeActingGranted   = "muster.registry.acting-granted.v1"
	TypeActingWithdrawn = "muster.registry.acting-withdrawn.v1"
)

// MaxActing is the number of devices that a grant may name; for more there are cohorts.
const MaxActing = 1_000

// ActingGranted lets a device, an edge gateway as a rule, speak for others: for those that are named, and for all that are
// in the cohort while they are in it. It replaces what the agent was granted before.
type ActingGranted struct {
	Agent   uint32   `msgpack:"agent"`
	Devices []uint32 `msgpack:"devices"` // ascending, without the agent
	Cohort  string   `msgpack:"cohort"`  // empty is none
}

// ActingWithdrawn takes back all that an agent was granted.
type ActingWithdrawn struct {
	Agent uint32 `msgpack:"agent"`
}

// Type is the ce_type.
func (ActingGranted) Type() string { return TypeActingGranted }

// Type is the ce_type.
func (ActingWithdrawn) Type() string { return TypeActingWithdrawn }

func (a ActingGranted) validate() *batch.Error {
	switch {
	case a.Agent == 0:
		return bad("agent", "must count from 1")
	case len(a.Devices) == 0 && a.Cohort == "":
		return bad("devices", "and the cohort are both missing: the grant is of nothing")
	case len(a.Devices) > MaxActing:
		return refuse(batch.Unprocessable, "devices", "are too many", MaxActing)
	}
	var before uint32
	for _, no := range a.Devices {
		if no <= before {
			return bad("devices", "must ascend, from 1")
		}
		if no == a.Agent {
			return bad("devices", "must not name the agent, who speaks for itself anyway")
		}
		before = no
	}
	if a.Cohort == "" {
		return nil
	}
	return checkName("cohort", a.Cohort)
}

// normal makes what was left out and what was written as nothing the same.
func (a *ActingGranted) normal() {
	if len(a.Devices) == 0 {
		a.Devices = nil
	}
}

func (a ActingWithdrawn) validate() *batch.Error { return checkNo("agent", a.Agent) }
