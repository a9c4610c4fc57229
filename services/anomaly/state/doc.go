// Package state writes and reads what a detector remembers: numbers of fixed width, short numbers, texts and counts, one
// after the other, through a buffer, with the first error kept until somebody asks.
//
// Rooms nest: NewWriter of a Writer is that Writer, and NewReader of a Reader that Reader, so a room's
// Snapshot(io.Writer) and Restore(io.Reader) may be called with their parent's. A reader believes no length: what a
// stream claims is bounded by the caller, and memory is given only for bytes that came.
//
// It does not know what is stored where: platform/snapshot does.
package state
