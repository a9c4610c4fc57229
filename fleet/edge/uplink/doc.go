// Package uplink sends what an edge has kept to the gateway, over HTTPS with the edge's own certificate: a message of the
// edge itself to /v1/events, one of a device that it speaks for to /v1/telemetry/{device} or /v1/events/{device}.
//
// Order: one message of a device is on its way at a time, those of several devices side by side. What is not answered for is
// sent again under the same bytes, and so under the same key: the gateway stores it once.
//
// By answer: 200 lets a message go. 400, 404, 409, 413, 415 and 422 refuse the message for good: it is let go, counted and
// reported. 403 for a device says that the edge may not speak for it: the device's messages stay
// for a time, since whoever enrols devices may be about to say so; then they are let go, counted and reported, and a message that
// comes later asks again now and then. 429 for a device's rate makes that device wait. All else, a 503 or no answer too, makes
// everything wait, each time longer: nothing is let go. So does a certificate that is refused: an operator may mend that.
// A message that fails again and again while others pass makes its own device wait, and is given up in the end.
//
// It holds a bounded part of the ring in memory. What of it waits when nothing can be sent goes back into the ring, whose
// order then says again what goes first.
package uplink
