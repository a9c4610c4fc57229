// Package audit reads the registry's log as an auditor does: from its first record, believing nothing.
//
// In: records, from the log itself (ReadLog) or from an export of it (ReadExport), in their order. Out: a Report of
// the hash chain (Verifier), with every event that was removed, changed, moved, repeated or put in by somebody else,
// and where; the events as a person reads them (Reader, Entry); and the export (Exporter), which carries each event's
// bytes and hash beside its text, so that it can be verified anywhere, without a log or a stack.
//
// What a chain cannot tell by itself: that its end was cut off, or that all of it was written anew. Both show against
// a head - the hash of the last event - that was kept elsewhere: see Kept.
//
// Memory is bounded by what is remembered to tell repetitions (window) and by the devices' names, never by the number
// of events. Nothing here writes to a log, and nothing decides what an event means for a device: that is the fold's
// (platform/roster).
package audit
