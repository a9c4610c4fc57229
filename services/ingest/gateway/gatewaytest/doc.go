// Package gatewaytest makes what tests of the gateway need of the outside: an authority of their own with its
// certificates, for servers, devices and devices that are wrong in one way; and devices that send. It is imported by
// tests only.
package gatewaytest
