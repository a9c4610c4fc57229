// Package door lets connections in: TCP, caps per address and in all, the TLS 1.3 handshake with the device's
// certificate, the identity that the certificate names, the cap per device. What leaves Accept has shaken hands and
// knows its Peer. It also holds the server's certificate and follows its files.
//
// It decides nothing about enrolment: who may send is asked at each request, since it may change while a connection
// lives. CloseIf ends the connections of those who may not any more.
package door
