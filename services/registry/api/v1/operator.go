package v1

import "time"

// NewToken asks for an operator's token: POST /api/v1/tokens.
type NewToken struct {
	Change
	Name        string `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"Who carries it: what stands in the audit log"`
	Role        string `json:"role" enum:"viewer,operator,releaser,admin"`
	LifeSeconds int64  `json:"life_seconds,omitempty" minimum:"0" maximum:"31622400" doc:"90 days when 0, a year at most"`
}

// Token is an operator's token without its secret, which the registry does not know.
type Token struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Role     string    `json:"role" enum:"viewer,operator,releaser,admin"`
	NotAfter time.Time `json:"not_after"`
	State    string    `json:"state" enum:"valid,ended,withdrawn"`
}

// TokenMade answers the making of a token: the only time its secret is shown.
type TokenMade struct {
	Token
	Secret string `json:"secret" doc:"What goes behind Authorization: Bearer"`
}

// Tokens are all that were made.
type Tokens struct {
	Tokens []Token `json:"tokens" nullable:"false"`
}

// Authority is the fleet's certificate authority.
type Authority struct {
	TrustDomain string   `json:"trust_domain"`
	Issuing     string   `json:"issuing" doc:"The issuer that signs now"`
	Roots       []Issuer `json:"roots" nullable:"false" doc:"What devices are told to trust"`
	Issuers     []Issuer `json:"issuers" nullable:"false" doc:"Every issuing certificate that the log names"`
}

// Issuer is a certificate of the authority.
type Issuer struct {
	Issuer    string    `json:"issuer" doc:"The first 16 bytes of SHA-256 of its DER, hexadecimal"`
	Subject   string    `json:"subject"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Revoked   bool      `json:"revoked"`
	Devices   int       `json:"devices" doc:"How many devices that are not revoked have their newest certificate from it"`
}

// Security is how well the fleet's identities are kept.
type Security struct {
	At          time.Time      `json:"at"`
	Devices     int            `json:"devices" doc:"Not revoked"`
	Quarantined int            `json:"quarantined"`
	Revoked     int            `json:"revoked"`
	Enrolments  map[string]int `json:"enrolments" doc:"Devices by how they enrolled, revoked ones too"`
	AgeSeconds  Quantiles      `json:"certificate_age_seconds" doc:"Of the newest certificate of each device that is not revoked"`
	LeftSeconds Quantiles      `json:"certificate_left_seconds" doc:"Until that certificate ends; below 0: it has ended"`
	InTime      float64        `json:"rotated_in_time" doc:"Share of devices that are not revoked whose newest certificate is not in the last third of its life; 1 when there are none"`
	Findings    []Finding      `json:"findings" nullable:"false" doc:"What wants somebody's hand"`
}

// Quantiles of what was counted.
type Quantiles struct {
	Count int   `json:"count"`
	P50   int64 `json:"p50"`
	P90   int64 `json:"p90"`
	P99   int64 `json:"p99"`
	Max   int64 `json:"max"`
	Min   int64 `json:"min"`
}

// Finding is one thing that wants somebody's hand.
type Finding struct {
	Finding string   `json:"finding" doc:"What it is, in one word with dashes"`
	Detail  string   `json:"detail"`
	Count   int      `json:"count"`
	Devices []string `json:"devices,omitempty" nullable:"false" doc:"Some of those concerned, at most 10"`
}

// Status is what this process of the registry does.
type Status struct {
	Role     string `json:"role" enum:"writer,standby" doc:"A standby answers what is read and refuses changes"`
	Ready    bool   `json:"ready"`
	Position int64  `json:"position" doc:"The offset of the registry's log up to which it has read"`
	Devices  int    `json:"devices"`
}
