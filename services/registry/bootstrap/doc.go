// Package bootstrap makes what the processes of a new installation need before any of them runs: the
// certificate authority, the server certificates and the shared secrets, each in a folder that only its holder's
// user can open.
//
// It issues no device certificate and talks to no other process.
package bootstrap
