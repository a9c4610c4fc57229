// Package fleet is the root of the device's side. Its parts talk to the gateway like any device: HTTPS, a
// client certificate, the messages of proto.
package fleet
