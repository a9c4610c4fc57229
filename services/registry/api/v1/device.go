package v1

import "time"

// Enrolment asks for a device's identity: POST /api/v1/devices.
type Enrolment struct {
	Device     string            `json:"device" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"The device's id"`
	Cohort     string            `json:"cohort" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"The one rollout cohort that it belongs to"`
	Profile    string            `json:"profile,omitempty" pattern:"^[a-z][a-z0-9_]{0,30}$" doc:"The kind of device; default when empty"`
	Class      string            `json:"class,omitempty" enum:"standard,debug,audit,cold" doc:"The retention class; standard when empty"`
	History    bool              `json:"history,omitempty" doc:"Accept readings older than 30 days"`
	IntervalMS int64             `json:"interval_ms,omitempty" minimum:"0" doc:"Expected time between messages; the cohort's when 0"`
	Region     string            `json:"region,omitempty" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"The region it must not leave; the cohort's when empty"`
	Attributes map[string]string `json:"attributes,omitempty" doc:"What reporting groups select by: at most 32, keys [a-z][a-z0-9_]{0,62}, values of at most 128 bytes"`
	CSR        string            `json:"csr" doc:"A PKCS#10 request in PEM; of it only the key is used"`
	Why        string            `json:"why,omitempty" maxLength:"500" doc:"Why; \"enrolled by the operators' API\" when empty"`
}

// Enrolled answers an enrolment.
type Enrolled struct {
	Device      string `json:"device"`
	No          uint32 `json:"no" doc:"The device's number, never given again"`
	Replaces    string `json:"replaces,omitempty" doc:"The device whose place it took"`
	Certificate string `json:"certificate,omitempty" doc:"PEM: the device's, then the issuing one"`
	CA          string `json:"ca,omitempty" doc:"PEM: what the device trusts"`
}

// Device is a device as the registry knows it.
type Device struct {
	Device       string            `json:"device"`
	No           uint32            `json:"no"`
	Cohort       string            `json:"cohort"`
	Profile      string            `json:"profile"`
	Class        string            `json:"class" enum:"standard,debug,audit,cold"`
	History      bool              `json:"history"`
	Revoked      bool              `json:"revoked"`
	State        string            `json:"state" enum:"enrolled,quarantined,revoked"`
	Region       string            `json:"region,omitempty" doc:"Its own, else its cohort's"`
	IntervalMS   int64             `json:"interval_ms,omitempty" doc:"Its own, else its cohort's"`
	Method       string            `json:"method,omitempty" doc:"How it enrolled: operator, password, manufacturer"`
	EnrolledAt   time.Time         `json:"enrolled_at,omitzero"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Groups       []string          `json:"groups,omitempty" nullable:"false" doc:"The reporting groups it is in now (of one device only)"`
	Replaces     string            `json:"replaces,omitempty"`
	ReplacedBy   string            `json:"replaced_by,omitempty"`
	ActsFor      *ActsFor          `json:"acts_for,omitempty" doc:"For whom it may speak beside itself (of one device, and in a list of those that may)"`
	SpokenForBy  []string          `json:"spoken_for_by,omitempty" nullable:"false" doc:"Who may speak for it beside itself (of one device only)"`
	Certificates []Certificate     `json:"certificates,omitempty" nullable:"false" doc:"Newest first (of one device only)"`
}

// The states of a device.
const (
	StateEnrolled    = "enrolled"
	StateQuarantined = "quarantined"
	StateRevoked     = "revoked"
)

// Certificate is a device's certificate as the registry knows it.
type Certificate struct {
	Serial    string    `json:"serial" doc:"Lower-case hexadecimal without leading zeros"`
	Device    string    `json:"device"`
	SPKI      string    `json:"spki" doc:"SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal"`
	Issuer    string    `json:"issuer,omitempty" doc:"Which issuing certificate signed it"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Revoked   bool      `json:"revoked"`
}

// Devices is one page of devices in the order of their numbers.
type Devices struct {
	Devices []Device `json:"devices" nullable:"false"`
	Next    uint32   `json:"next,omitempty" doc:"The next page's after; 0: this page is the last"`
}

// Description changes a device's attributes: PATCH /api/v1/devices/{id}.
type Description struct {
	Change
	Attributes map[string]*string `json:"attributes" doc:"The attributes to set; null takes one away, what is not named stays"`
}

// Moving moves a device to another rollout cohort.
type Moving struct {
	Change
	Cohort string `json:"cohort" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$"`
}

// Members moves many devices to one rollout cohort, all or none.
type Members struct {
	Change
	Devices []string `json:"devices" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Replacement puts a device in another's place.
type Replacement struct {
	Change
	New string `json:"new" pattern:"^[a-z0-9][a-z0-9._-]{0,62}$" doc:"The device that takes the place"`
	CSR string `json:"csr,omitempty" doc:"PEM: enrol the new device as the old one was (cohort, profile, class, attributes); without it the new one is enrolled already"`
}

// Count answers a change of many devices.
type Count struct {
	Devices int `json:"devices" doc:"How many devices the change concerns"`
}
