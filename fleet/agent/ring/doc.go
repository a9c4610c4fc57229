// Package ring keeps messages on a device's disk until somebody has answered for them, within a bound of bytes.
//
// In: a value of bytes and a kind, which the ring does not look into. Put returns when the value is on the disk (several
// at once share one fsync), so that a power cut a moment later loses nothing. Out: Next hands each value out once, Done
// lets it go, Return takes it back. A value that was handed out and neither done nor returned when the process ended is
// handed out again after Open: what is sent is sent at least once, and its receiver knows a retry by the value's key.
//
// Refused: a value that no segment can hold (ErrTooLarge), and any value while the disk is full or broken (the error says
// which); the ring goes on as soon as there is room. When the ring itself is full, the oldest segment gives way to new
// values, and what was lost with it is counted by messages and bytes.
//
// On the disk a ring is a directory of segments. A segment is a header and records, each under a CRC, and is only ever
// appended to; beside it lies a file of marks, one for each value that is done, which is not fsynced: a mark that a power
// cut takes costs a value sent twice. A segment all of whose values are done is removed. At Open a torn tail is cut, and
// bytes that are not as they were written are passed over to the next good record and counted. A segment has a random salt
// in its header that its records' CRCs begin with, so that no value, however made, can pass for a record.
//
// The ring knows nothing of what it holds, of networks, or of time.
package ring
