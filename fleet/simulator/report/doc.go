// Package report makes the delivery report of a simulation: what was heard of a fleet against what it said.
//
// In: facts that others have counted, on two sides that know nothing of each other. The world knows which messages its devices
// made, which of them reached a gateway and what befell whom; the store knows what it holds. Out: a Report, which prints as text
// and as JSON.
//
// Its first question is whether every message that reached a gateway is stored exactly once. Its second is who was not heard,
// when, and for which reason: silence that was planned, that has its cause in the device, that is the radio's, that is our own
// pipeline's, and silence that nothing explains, of which there must be none.
//
// It is pure: no clock, no network, the same facts give the same bytes.
package report
