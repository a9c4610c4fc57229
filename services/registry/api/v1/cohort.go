package v1

// Cohort is a rollout cohort: devices belong to it by an explicit word alone.
type Cohort struct {
	Cohort      string  `json:"cohort"`
	IntervalMS  int64   `json:"interval_ms,omitempty" doc:"Expected time between messages of a device that has none of its own"`
	Region      string  `json:"region,omitempty" doc:"The region that its devices must not leave, unless they have one of their own"`
	Sleep       []Sleep `json:"sleep,omitempty" nullable:"false" doc:"When its devices are meant to be silent"`
	Devices     int     `json:"devices" doc:"How many belong to it and are not revoked"`
	Quarantined bool    `json:"quarantined,omitempty" doc:"All its devices are held off, those that come to it too"`
	Revoked     bool    `json:"revoked,omitempty" doc:"All its devices were revoked, and it takes no more"`
}

// CohortDefinition says what holds for a cohort's devices: PUT /api/v1/cohorts/{cohort}. It replaces what was said.
type CohortDefinition struct {
	Change
	IntervalMS int64   `json:"interval_ms,omitempty" minimum:"0"`
	Region     string  `json:"region,omitempty" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$"`
	Sleep      []Sleep `json:"sleep,omitempty" nullable:"false"`
}

// Sleep is a planned silence: every week, in UTC.
type Sleep struct {
	Days []string `json:"days" nullable:"false" enum:"mon,tue,wed,thu,fri,sat,sun"`
	From string   `json:"from" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM, UTC"`
	To   string   `json:"to" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM, UTC; earlier than from: on the next day"`
}

// Cohorts are all of them.
type Cohorts struct {
	Cohorts []Cohort `json:"cohorts" nullable:"false"`
}

// Group is a reporting group: a selector over attributes, evaluated when it is read.
type Group struct {
	Group    string `json:"group"`
	Selector string `json:"selector"`
}

// GroupDefinition defines a group: PUT /api/v1/groups/{group}.
type GroupDefinition struct {
	Change
	Selector string `json:"selector" doc:"key=value, key!=value, key in (a,b) or key, joined by commas, which mean and; cohort=, profile= and region= too"`
}

// Groups are all of them.
type Groups struct {
	Groups []Group `json:"groups" nullable:"false"`
}

// Region is a region and the gateway that takes its devices.
type Region struct {
	Region  string `json:"region"`
	Gateway string `json:"gateway" doc:"The address that a device of the region is sent to"`
}

// RegionDefinition defines a region: PUT /api/v1/regions/{region}.
type RegionDefinition struct {
	Change
	Gateway string `json:"gateway"`
}

// Regions are all of them.
type Regions struct {
	Regions []Region `json:"regions" nullable:"false"`
}

// Line is a product line: what devices that enrol themselves under its label become.
type Line struct {
	Label      string `json:"label"`
	Profile    string `json:"profile"`
	Cohort     string `json:"cohort"`
	Class      string `json:"class" enum:"standard,debug,audit,cold"`
	History    bool   `json:"history,omitempty"`
	IntervalMS int64  `json:"interval_ms,omitempty"`
	Region     string `json:"region,omitempty"`
}

// LineDefinition defines a line: PUT /api/v1/lines/{label}.
type LineDefinition struct {
	Change
	Profile    string `json:"profile,omitempty" pattern:"^[a-z][a-z0-9_]{0,30}$" doc:"default when empty"`
	Cohort     string `json:"cohort" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"The first rollout cohort of its devices"`
	Class      string `json:"class,omitempty" enum:"standard,debug,audit,cold"`
	History    bool   `json:"history,omitempty"`
	IntervalMS int64  `json:"interval_ms,omitempty" minimum:"0"`
	Region     string `json:"region,omitempty" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$"`
}

// Lines are all of them.
type Lines struct {
	Lines []Line `json:"lines" nullable:"false"`
}
