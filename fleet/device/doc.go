// Package device is a device's side of the wire: an HTTPS client of the gateway with a client certificate, and an
// outbox that keeps each message until the gateway has answered for it.
//
// Contract, by answer: 200 means that the message is in the log and is let go; 400, 403, 409, 413, 415 and 422
// mean that it never will be, and it is let go and counted; 429 means that it is not stored and 503, 408 or no
// answer that nobody knows: both keep the message and send the same bytes under the same (boot, seq) again, after
// Retry-After or a growing pause. So a message that was accepted once is accepted for good, and a retry is told
// by its key.
//
// The outbox is bounded: when it is full the oldest message that was never tried gives way, and that is counted.
// It keeps order: the next message is sent only when the one before was answered.
//
// It builds no messages (proto/batch does) and persists nothing: a device that must survive a power cut with its
// readings needs the agent.
package device
