package v1

import "time"

// NewPassword asks for a one-time password: POST /api/v1/passwords.
type NewPassword struct {
	Change
	Label       string `json:"label" doc:"The product line that a device which uses it enrols into"`
	Device      string `json:"device,omitempty" doc:"The one device that may use it; or a prefix"`
	Prefix      string `json:"prefix,omitempty" doc:"What the ids of the devices that may use it begin with"`
	LifeSeconds int64  `json:"life_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"7 days when 0"`
	Uses        uint32 `json:"uses,omitempty" minimum:"0" maximum:"100000" doc:"How many devices may enrol by it; 1 when 0"`
}

// Password is a one-time password without its secret, which the registry does not know.
type Password struct {
	ID       string    `json:"id"`
	Label    string    `json:"label"`
	Device   string    `json:"device,omitempty"`
	Prefix   string    `json:"prefix,omitempty"`
	NotAfter time.Time `json:"not_after"`
	Uses     uint32    `json:"uses"`
	Used     uint32    `json:"used"`
	State    string    `json:"state" enum:"usable,used,ended,withdrawn"`
}

// PasswordMade answers the making of a password: the only time its secret is shown.
type PasswordMade struct {
	Password
	Secret string `json:"secret" doc:"What the device gives as its HTTP Basic password, with its id as the user"`
}

// Passwords are all that were made.
type Passwords struct {
	Passwords []Password `json:"passwords" nullable:"false"`
}

// ManufacturerTrust says whose birth certificates may enrol: PUT /api/v1/manufacturers/{name}.
type ManufacturerTrust struct {
	Change
	Certificates string `json:"certificates" doc:"PEM: the manufacturer's CA certificates"`
}

// Manufacturer is one whose birth certificates may enrol.
type Manufacturer struct {
	Name         string   `json:"name"`
	Certificates []string `json:"certificates" nullable:"false" doc:"Subjects of its CA certificates"`
	Claims       int      `json:"claims" doc:"How many serial numbers are claimed"`
}

// Manufacturers are all that are trusted.
type Manufacturers struct {
	Manufacturers []Manufacturer `json:"manufacturers" nullable:"false"`
}

// Claim says that the device with this manufacturer's serial number is ours.
type Claim struct {
	Serial string `json:"serial" doc:"The serialNumber in the subject of its birth certificate"`
	Device string `json:"device,omitempty" doc:"The id it gets; derived from the serial when empty"`
	Label  string `json:"label,omitempty" doc:"Its product line (in answers)"`
}

// NewClaims claims serial numbers: POST /api/v1/manufacturers/{name}/claims.
type NewClaims struct {
	Change
	Label  string  `json:"label" doc:"The product line that they enrol into"`
	Claims []Claim `json:"claims" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Claims is one page of claims in the order of their serial numbers.
type Claims struct {
	Claims []Claim `json:"claims" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"The next page's after; empty: this page is the last"`
}

// ClaimRelease takes claims back.
type ClaimRelease struct {
	Change
	Serials []string `json:"serials" nullable:"false" minItems:"1" maxItems:"1000"`
}

// Claimed answers a change of claims.
type Claimed struct {
	Manufacturer string `json:"manufacturer"`
	Serials      int    `json:"serials"`
}
