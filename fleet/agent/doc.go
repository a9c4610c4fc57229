// Package agent is Muster on a device: readings and events in, messages to the gateway out, and nothing lost in between.
//
// Record and Event take what the device has to say. Readings are gathered for a short while into a compact batch; a batch
// and each event become one message, which gets the next number (seq) of this start (boot) and goes, as the bytes that will
// be sent, into a ring on the disk (package ring). From there it goes to the gateway, again and again until that answers for
// it (package send). The boot counter is on the disk, and rises, before the first message of a start: so a number never
// names two messages, and what is sent twice is stored once.
//
// What a power cut takes is the readings that are not yet in a message, those of at most Config.BatchAge; Sync puts them on
// the disk at once. While the clock is not set (before the certificate's begin), readings and events without a time of their
// own wait in memory, and get their time by the monotonic clock once it is.
//
// The agent also renews the device's certificate (package est), says how the device fares (package health), and takes
// updates from an Updater. It imports proto, a backoff and the standard library, nothing else.
package agent
