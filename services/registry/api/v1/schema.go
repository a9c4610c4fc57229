package v1

// Metric is one column of a schema.
type Metric struct {
	Name  string `json:"name" pattern:"^[a-z_][a-z0-9_]{0,62}$"`
	Kind  string `json:"kind" enum:"int,float,bool,text"`
	Scale uint8  `json:"scale,omitempty" minimum:"0" maximum:"9" doc:"An int's values are scaled by 10^-scale"`
}

// Schema is a list of metrics that messages refer to by id.
type Schema struct {
	ID      uint32   `json:"id"`
	Metrics []Metric `json:"metrics" nullable:"false"`
}

// NewSchema asks for a schema: POST /api/v1/schemas.
type NewSchema struct {
	ID      uint32   `json:"id,omitempty" doc:"Left out: the registry gives the ids"`
	Metrics []Metric `json:"metrics" nullable:"false" doc:"Their order counts: messages refer to a metric by its place"`
	Why     string   `json:"why,omitempty" maxLength:"500" doc:"Why; \"defined by the operators' API\" when empty"`
}
