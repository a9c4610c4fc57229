// Package api is the operators' side of the registry: HTTP and JSON under /api/v1, for the bearer of a token.
//
// In: a request. Out: the outcome of a decision that stands in the log, or what the folded log says. Refused, each
// with an RFC 9457 problem that names the member at fault: no token or one that is not good (401), a token whose role
// does not suffice and what the registry forbids (403), a body that is too large (413), of another type (415) or not
// what the path takes (400, 422), what contradicts the registry (409), and everything while this process does not write
// the log (503; whoever gets it may ask again). A 401 and a 403 are told to auditors (package refusals).
//
// What can be called is one table of operations. The routes, their roles and the OpenAPI document are made of it, and
// the bodies in the document are the Go types of package v1: neither can say what the other does not. Every change says
// who (the token's name) and why. One that is so already answers 200 and writes nothing; what takes a name back, as a
// group's or a manufacturer's, finds none the second time and says so (404).
//
// It decides nothing itself: decide does, and writer makes it so.
package api
