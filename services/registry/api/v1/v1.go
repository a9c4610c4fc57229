package v1

// Enrolment asks for a device's identity: POST /api/v1/devices.
type Enrolment struct {
	Device  string `json:"device"`            // the id: [a-z0-9][a-z0-9._-]{0,62}
	Cohort  string `json:"cohort"`            // [a-z0-9][a-z0-9._-]{0,62}
	Profile string `json:"profile,omitempty"` // [a-z][a-z0-9_]{0,30}; "default" when empty
	Class   string `json:"class,omitempty"`   // standard, debug, audit, cold; standard when empty
	History bool   `json:"history,omitempty"` // accept readings older than 30 days
	CSR     string `json:"csr"`               // PEM
}

// Enrolled answers an enrolment.
type Enrolled struct {
	Device      string `json:"device"`
	No          uint32 `json:"no"`
	Certificate string `json:"certificate"` // PEM: the device's, then the issuing one
	CA          string `json:"ca"`          // PEM: what the device trusts
}

// Device is a device as the registry knows it: GET /api/v1/devices/{id}.
type Device struct {
	Device  string `json:"device"`
	No      uint32 `json:"no"`
	Cohort  string `json:"cohort"`
	Profile string `json:"profile"`
	Class   string `json:"class"`
	History bool   `json:"history"`
	Revoked bool   `json:"revoked"`
}

// Devices is one page of devices in the order of their numbers: GET /api/v1/devices?after=NO&limit=N.
type Devices struct {
	Devices []Device `json:"devices"`
	Next    uint32   `json:"next,omitempty"` // the next page's after; 0: this page is the last
}

// Metric is one column of a schema: kind is int, float, bool or text; an int's values are scaled by 10^-scale.
type Metric struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Scale uint8  `json:"scale,omitempty"`
}

// Schema is a list of metrics that messages refer to by id: POST /api/v1/schemas without an id, GET /api/v1/schemas/{id}.
type Schema struct {
	ID      uint32   `json:"id,omitempty"`
	Metrics []Metric `json:"metrics"`
}

// ProblemType is the media type of a refusal.
const ProblemType = "application/problem+json"

// Problem says why a request was refused (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"` // the member at fault
}

func (p *Problem) Error() string {
	switch {
	case p.Detail == "":
		return p.Title
	case p.Field == "":
		return p.Title + ": " + p.Detail
	}
	return p.Title + ": " + p.Field + ": " + p.Detail
}
