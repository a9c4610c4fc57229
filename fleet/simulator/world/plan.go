package world

import (
	"muster.dev/fleet/simulator/chance"
	"muster.dev/fleet/simulator/plan"
)

// What drivers need of the plan, by the names that they know it by.
type (
	Device = plan.Device
	Outage = plan.Outage
)

// Kinds of outages, and the end of time.
const (
	GatewayDown  = plan.GatewayDown
	LogStalled   = plan.LogStalled
	SinkStalled  = plan.SinkStalled
	RegionCutOff = plan.RegionCutOff
	Never        = chance.Never
)
