// Package api is the operators' side of the registry: HTTP and JSON under /api/v1, for the bearer of a token.
//
// In: a request. Out: the outcome of a decision that stands in the log, or what the folded log says. Refused, each
// with an RFC 9457 problem that names the member at fault: no token or a wrong one (401), a body that is too large
// (413), of another type (415) or not what the path takes (400, 422), what contradicts the registry (409), and
// everything while this process does not write the log (503; whoever gets it may ask again).
//
// It decides nothing itself: decide does, and writer makes it so.
package api
