// Package event is everything that is said beside telemetry: what a device reports of itself (boot, heartbeat,
// crash, os-error, ota), what the registry declares, the gateway's watermark, and what the detectors found. Each is one
// MsgPack map, readable by any MsgPack library, under CloudEvents 1.0 headers; FORMAT.md in the folder above lists every field.
//
// Device events come from outside and are read by the bounded reader alone. Registry events come from our own
// principal and are read by vmihailenco/msgpack, after batch.Scan. Whether a registry event chains to the one before
// is for its reader (platform/roster) to judge.
package event
