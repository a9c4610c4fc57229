package v1

// ProblemType is the media type of a refusal.
const ProblemType = "application/problem+json"

// Problem says why a request was refused (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title" doc:"The status in words"`
	Status int    `json:"status" doc:"The HTTP status"`
	Detail string `json:"detail,omitempty" doc:"What is wrong, and what to do where that is known"`
	Field  string `json:"field,omitempty" doc:"The member at fault"`
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
