package authority

import "time"

// Drafted is what stands of a certificate in the registry's log.
type Drafted = struct {
	Serial    string
	SPKI, CSR [32]byte
	NotBefore time.Time
	NotAfter  time.Time
	Issuer    string
}
