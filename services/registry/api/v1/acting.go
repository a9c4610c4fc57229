package v1

// ActsFor is for whom a device may speak beside itself.
type ActsFor struct {
	Devices []string `json:"devices,omitempty" nullable:"false" doc:"The devices that are named"`
	Cohort  string   `json:"cohort,omitempty" doc:"And all that are in this rollout cohort, while they are in it"`
}

// Acting is for whom a device may speak beside itself: GET /api/v1/devices/{id}/acting.
type Acting struct {
	Device string `json:"device"`
	ActsFor
}

// ActingGrant lets a device speak for others: PUT /api/v1/devices/{id}/acting. It replaces what it was granted; of nobody it
// is a withdrawal.
type ActingGrant struct {
	Change
	Devices []string `json:"devices,omitempty" nullable:"false" maxItems:"1000" doc:"The devices that it may speak for"`
	Cohort  string   `json:"cohort,omitempty" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"A rollout cohort, for whose devices it may speak"`
}
