// Package rule is what an edge does to the readings of local devices before it keeps them: local rules.
//
// A Rule sees one reading at a time, in the order in which the device sent them, and may change it or drop it. Rules
// see the readings of devices that do not count their messages. A message that its device has counted (boot and seq)
// passes as it is: the same key must mean the same bytes wherever it is sent again from, whatever the rules are then.
//
// It knows nothing of MQTT, of the ring or of the gateway. A rule's state is in memory: after a start it is empty.
package rule
