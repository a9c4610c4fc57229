// Package authority is the fleet's certificate authority: a root that signs issuing certificates, and the issuing
// certificate in use, which signs everything else.
//
// In: a certificate request as PEM or DER, and what the registry decided about it. Out: a certificate whose identity is
// exactly one SPIFFE URI built from the registry's decision. Refused: a request whose signature is wrong, whose key is
// weak or of an unknown kind, or that is too large. Nothing but the key of a request is used.
//
// Issuing is two steps. Draft picks the serial and the times; the registry writes them into its log; Sign makes the
// certificate, as a pure function of that record, the request's key and the issuing key. So the log comes first, and
// who lost an answer asks again and gets the same bytes.
//
// Keys lie in files sealed by age, which only their owner may read, and are used through crypto.Signer alone, so that a
// key in hardware can take their place. The root's key is needed by Init and the roll-overs only: its place is offline.
// A roll-over (RollIssuing, RollRoot) makes new ones and keeps the old ones trusted until Retire; Follow has a process
// that runs take them up.
package authority
