// Package client speaks to the registry's operators' API: what `muster device enroll` and the simulated fleet call.
//
// A device's private key is made here and stays here: the registry sees the request that it signed, never the key.
package client
