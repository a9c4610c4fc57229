// Package v1 holds the bodies of the operators' API, /api/v1, as its server and its clients write them. It holds no
// behaviour, so that a client does not build a server in.
package v1
