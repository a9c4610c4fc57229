// Package identity reads and writes the one name a device has: the SPIFFE id
// spiffe://<trust-domain>/device/<id> that its certificate carries as its only URI SAN. The parser takes exactly
// the written form and nothing that a lenient URL parser would make equal to it: no upper case, no escapes, no
// dot segments, no port, user, query or fragment. It does not look at certificates.
package identity
