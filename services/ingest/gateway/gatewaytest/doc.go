// Package gatewaytest makes the certificates that tests of the gateway need: an authority of their own, servers,
// devices and devices that are wrong in one way. It is imported by tests only.
package gatewaytest
