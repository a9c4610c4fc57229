// Package intake takes what local devices say and keeps it: it decides whether a message can ever be stored, gives a key to
// each that has none, and answers when the message is on the disk.
//
// What a message meets, in order: what is known of its device's standing upstream, the device's rate, its form. Then one
// that its device has counted (boot and seq) is kept as it is. The readings of one that is not counted meet the local
// rules, and those that a device sends within a window are kept as one compact batch, under the edge's own count for the
// device: boot is the edge's run, seq counts the device's messages of the stream within it. The key is part of what is kept,
// so that however often it is sent upstream, it is stored once.
//
// Contract of Take: done is called exactly once, from any goroutine, and never waits for the caller; Stored is said only
// when everything of the message is on the disk (or was dropped by a rule, as configured). Messages of one device are kept in the order in which
// they were taken. Nothing here waits for the network.
//
// A device that does not count and sends a message again, because it has not heard the answer, is believed: its readings
// are kept twice, under two keys. Only a key of the device's own can tell.
package intake
