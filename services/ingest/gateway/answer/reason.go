package answer

// Reason is the outcome of one request: why it was refused, or that it was stored. It is the label of the gateway's
// counters, so its values are few and never made from input.
type Reason uint8

// Every outcome a request can have.
const (
	Stored Reason = iota
	Duplicate

	Malformed
	BadEncoding
	CutBody
	BadIdentity
	NotEnrolled
	Revoked
	CertificateRevoked
	AuthorityRevoked
	Superseded
	Isolated
	OtherRegion
	DeviceMismatch
	NotFound
	Method
	SlowBody
	Conflict
	TooLarge
	Ratio
	MediaType
	ContentEncoding
	Unprocessable
	UnknownSchema
	DeviceRate
	DeviceConnections
	Overloaded
	LogFull
	LogSilent
	LogFailed
	LogStalled
	RosterStale
	Draining

	reasons
)

// Count is how many reasons there are: arrays of counters are indexed by Reason.
const Count = int(reasons)

// What a device may conclude about the message.
const (
	outcomeStored  = "stored"
	outcomeRefused = "refused"
	outcomeNot     = "not stored"
	outcomeUnknown = "unknown"
)

type entry struct {
	name    string
	status  int
	title   string
	outcome string
}

var table = [reasons]entry{
	Stored:    {"stored", 200, "Stored", outcomeStored},
	Duplicate: {"duplicate", 200, "Stored before", outcomeStored},

	Malformed:          {"malformed", 400, "The body cannot be read", outcomeRefused},
	BadEncoding:        {"bad-encoding", 400, "The compressed body is damaged", outcomeRefused},
	CutBody:            {"cut-body", 400, "The body ended early or is framed wrongly", outcomeRefused},
	BadIdentity:        {"bad-identity", 403, "The client certificate names no device", outcomeRefused},
	NotEnrolled:        {"not-enrolled", 403, "The device is not enrolled here", outcomeRefused},
	Revoked:            {"revoked", 403, "The device is revoked", outcomeRefused},
	CertificateRevoked: {"certificate-revoked", 403, "The client certificate is revoked", outcomeRefused},
	AuthorityRevoked:   {"authority-revoked", 403, "The authority of the client certificate is revoked", outcomeRefused},
	Superseded:         {"superseded", 403, "The client certificate is superseded", outcomeRefused},
	Isolated:           {"quarantined", 403, "The device is in quarantine", outcomeRefused},
	OtherRegion:        {"other-region", 403, "The device belongs to another region", outcomeRefused},
	DeviceMismatch:     {"device-mismatch", 403, "The body names another device", outcomeRefused},
	NotFound:           {"not-found", 404, "No such endpoint", outcomeRefused},
	Method:             {"method", 405, "The endpoint takes POST", outcomeRefused},
	SlowBody:           {"slow-body", 408, "The body came too slowly", outcomeNot},
	Conflict:           {"conflict", 409, "The key was used for another payload", outcomeRefused},
	TooLarge:           {"too-large", 413, "The message is too large", outcomeRefused},
	Ratio:              {"compression-ratio", 413, "The body grows too much when decompressed", outcomeRefused},
	MediaType:          {"media-type", 415, "The content type is not taken here", outcomeRefused},
	ContentEncoding:    {"content-encoding", 415, "The content encoding is not taken here", outcomeRefused},
	Unprocessable:      {"unprocessable", 422, "The message says what cannot be stored", outcomeRefused},
	UnknownSchema:      {"unknown-schema", 422, "The schema is not published", outcomeRefused},
	DeviceRate:         {"device-rate", 429, "The device sends too much", outcomeNot},
	DeviceConnections:  {"device-connections", 429, "The device holds too many connections", outcomeNot},
	Overloaded:         {"overloaded", 429, "The gateway is at its limit", outcomeNot},
	LogFull:            {"log-full", 429, "The gateway waits for the log", outcomeNot},
	LogSilent:          {"log-silent", 503, "The log did not answer in time", outcomeUnknown},
	LogFailed:          {"log-failed", 503, "The log did not confirm the message", outcomeUnknown},
	LogStalled:         {"log-stalled", 503, "The log is not answering", outcomeUnknown},
	RosterStale:        {"roster-stale", 503, "The gateway cannot check who may send", outcomeUnknown},
	Draining:           {"draining", 503, "The gateway is stopping", outcomeUnknown},
}

// String is the label value.
func (r Reason) String() string { return table[r].name }

// Status is the HTTP status.
func (r Reason) Status() int { return table[r].status }

// Accepted tells whether the message is in the log.
func (r Reason) Accepted() bool { return r == Stored || r == Duplicate }
