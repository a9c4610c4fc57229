// Package est is the devices' side of the registry: enrolment over secure transport (RFC 7030, as RFC 8951 clarifies it).
//
// In: certificate requests of devices that come with a one-time password, with the certificate that their manufacturer
// gave them (IDevID, IEEE 802.1AR), or with a certificate of ours that is to be renewed. Out: a certificate. Refused, in
// words that the device can log: whoever is none of these, a request for a name that the device does not have, a key
// that is weak or was revoked. Each refusal becomes one event (package refusals), each certificate stands in the
// registry's log before it is signed (package authority).
//
// Bodies are one line of base64, since clients exist that read no other; requests may have line breaks. Manufacturers'
// certificates are trusted on this port alone. Every refusal of the transport, bounds and times included, is made before
// anything is decided. It keeps no state of its own: who may do what is in the registry's log.
package est
