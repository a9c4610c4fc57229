// Package pkcs7 writes the one form of PKCS #7 that EST answers with: a degenerate SignedData that holds certificates
// and signs nothing ("certs-only", RFC 5652 section 5.1, RFC 8551 section 3.8).
//
// It reads nothing and verifies nothing.
package pkcs7
