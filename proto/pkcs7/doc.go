// Package pkcs7 writes and reads the one form of PKCS #7 that EST answers with: a degenerate SignedData that holds
// certificates and signs nothing ("certs-only", RFC 5652 section 5.1, RFC 8551 section 3.8).
//
// It verifies nothing: what certificates it gives are whoever sent them's word.
package pkcs7
