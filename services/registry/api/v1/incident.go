package v1

// Acknowledged is an incident that somebody has taken on.
type Acknowledged struct {
	Incident string `json:"incident" doc:"Its id: i, then 12 of a-z 2-7"`
	By       string `json:"by" doc:"Who, as the audit log has it"`
}
