// Package authority is the fleet's certificate authority: a root that signs one issuing certificate, and
// the issuing certificate that signs everything else.
//
// In: a certificate request as PEM and the device it is for, decided by the registry. Out: a certificate
// whose identity is exactly one SPIFFE URI built from the registry's decision. Refused: a request whose
// signature is wrong, whose key is weak or of an unknown kind, or that is not one PEM block of bounded
// size. Nothing else of a request is read: a subject, names, or extensions that it asks for count for nothing.
//
// The keys lie in files that only their owner may read, and are used through crypto.Signer alone, so that
// a key in hardware can take their place. The root's key is needed by Init only: with root.key moved to a
// safe, Open and every issue go on working.
package authority
