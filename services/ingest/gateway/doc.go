// Package gateway is where devices' words come in: HTTPS and MQTT with the device's certificate on one side, the log on the
// other. A request walks through the rooms in this order:
//
//	door     the connection: caps, TLS, who the certificate says it is
//	fastpath a head that was read before: not again; net/http has all the others
//	admit    before a byte is buffered: enrolled? within its rate? room for the bytes?
//	body     the bytes: bounded, decompressed, never too slow
//	decode   proto/batch or proto/event: the compact form passes as it came, other forms are transcoded
//	recent   the key: seen lately, on its way, or another payload under the same key
//	publish  into the log, and wait for its acknowledgement
//	answer   what the device is told
//
// A message of MQTT comes in by a door of its own, from platform/mqtt/session; topic says what it is; and from admit on
// it goes the same way, but that the log's answer finishes it (link), where a request waits in its handler.
//
// The contract: 200 only after every replica of the log has the record. A refusal (4xx) and "not stored" (429) are said
// only when it surely does not have it by this request; whenever that is open, the answer is 503 and the device sends
// the same seq again. A request's own context never reaches the log's client: one client that hangs up would fail its
// neighbours' records. What comes in is counted once as stored, duplicate or refused by a reason.
//
// What is not here: duplicates across gateways and restarts, and values at fault, are the sink's; the gateway only counts
// and names them.
package gateway
