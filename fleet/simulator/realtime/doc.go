// Package realtime plays a world against the wall clock, through the public interfaces: each device with a certificate of its
// own, by HTTPS or, a share of them, by MQTT.
//
// In: a world that begins now, and the identities of its devices. Out: what the devices were answered, and the truth that the
// lives told. A message is sent when the world says that it arrives: what the radio loses is never sent, what is late is sent
// late, and what is sent again is sent again. It is kept until the gateway has answered for it, in order, device by device.
//
// Thousands of devices share some goroutines: one that waits for its next message is an entry in a heap, and a connection.
//
// What a driver outside of the stack cannot do, it does not pretend to: Unplayed says what.
package realtime
