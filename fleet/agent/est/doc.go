// Package est is how a device gets its identity and keeps it: the client's side of enrolment over secure transport (RFC
// 7030, as RFC 8951 clarifies it).
//
// Enrol asks for a first certificate, or for one with a new key, by a one-time password or by the certificate that the
// manufacturer gave; Renew asks by the certificate that the device has; Keep renews when it is time. The key is made here
// (P-256), is on the disk before anything is asked, readable by its owner alone, and never leaves it. An answer that was
// lost is asked for again with the same bytes, which the registry knows.
//
// Whom the device trusts is given beforehand, as a file of root certificates or as the SHA-256 fingerprint of one. With a
// fingerprint, what the server says of its roots is taken from a connection that is not verified, and of it nothing but the
// certificate that has the fingerprint; the password is sent only over a connection that leads to that. From then on the
// device trusts what `cacerts` says over a connection that it trusts: so a change of the fleet's root reaches it.
//
// The identity is three files, ca.pem, cert.pem and key.pem, as `muster device enroll` writes them. Each is replaced whole,
// and key.pem.next holds a key until its certificate is there: whatever instant the power goes at, Load finds an identity
// that works, the old one or the new one. Nothing is installed that does not lead to a root that is trusted.
//
// Of an answer at most 256 KiB are read; redirections are not followed and no proxy is asked. A server that says later
// (202, 429, 503) is a *Later, one that says no is a *Refused.
package est
