// Package sign is the record by which a gateway says that one identity looks like two: its form on the topic of device
// events, written by the gateway and read by the sink.
//
// It is a message of one device event without a key, under a ce_type and an event type of its own. A device can write
// neither: the gateway sets the ce_type of what a device sends, and proto/event refuses the type in what it sends. A
// sign judges nobody; it says what was seen, and whoever reads the events judges.
package sign
