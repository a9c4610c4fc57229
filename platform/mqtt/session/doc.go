// Package session is one connection of an MQTT server that takes messages and gives none: 3.1.1 and 5.0, QoS 0 and 1.
//
// What it promises its clients. A PUBACK without a failure is sent only when the handler has said Stored, in whatever order that
// happens; a message whose fate is not known gets none, because any PUBACK, also a failed one, lets the client forget it. Nobody
// is subscribed: SUBSCRIBE is answered with a failure for each filter, and the connection lives. Nothing is retained (5.0 is told
// so; in 3.1.1, which has no words for it, the flag changes nothing), a will is never published, no session outlives its
// connection, QoS 2 ends it.
//
// What it promises its server. Whatever the bytes, the process lives, and what one connection holds is bounded: 4 KiB and five
// seconds before CONNECT has been let in, then one packet of the limit's size that is being read, which grows as its bytes come and
// not with what they announce, and as many messages with the handler as the receive maximum. An idle connection is one goroutine
// and no buffer beyond 512 bytes of its own. Packets that bring no message are counted. A client that does not read its answers is not waited for beyond the write limit.
//
// What topics mean and who may send what is the handler's.
package session
