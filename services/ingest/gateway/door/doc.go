// Package door lets connections in: TCP, caps per address and in all, the TLS 1.3 handshake with the device's
// certificate, the identity that the certificate names, what the registry says of both, the cap per device. What leaves
// Accept has shaken hands and knows its Peer. It also holds the server's certificate and follows its files.
//
// A certificate that is revoked, or whose device or authority is, or that newer ones have superseded, fails its
// handshake with an alert. That is asked in VerifyConnection, which also a resumed session would meet; there are none,
// since tickets are disabled. What the registry says later is applied by Recheck, which ends open connections, and asked
// again at each request, by whoever serves them.
package door
