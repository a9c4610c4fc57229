// Package edge is an edge gateway: a process at a site that takes what local devices say, keeps it on its disk, and sends it to
// the fleet's gateway when it can, in the devices' names.
//
// What a message meets, in order:
//
//	local     a client of the site's MQTT listener; refused: who is not known, who speaks for another
//	intake    judged, counted where its device does not count, gathered; refused: what can never be stored, what is too much
//	ring      on the disk (fleet/agent/ring); then, and not before, the client has its PUBACK. Full: the oldest gives way, counted
//	uplink    HTTPS with the edge's own certificate; refused by the gateway: counted, and reported as an event of the edge
//
// in = stored in the ring + refused; kept = stored upstream + refused upstream + given way + waiting. Each has its counter.
//
// The edge speaks for those devices alone for which the registry lets it: it asks nobody, it tries, and tells the device what the
// gateway said. Its own events are a device's: boot at its start, a heartbeat with what it heard and what waits, and an
// os-error for each kind of trouble with what it was given.
//
// Another kind of local device is another intake.Source; what is done to readings on the way is a rule.Rule.
package edge
