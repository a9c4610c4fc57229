// Package seen remembers which messages of a partition are stored: per device
// and boot a high-water mark and the last 1,024 sequence numbers as a bitmap.
//
// It is a cache of the ledger and nothing else. Where it answers New, the
// ledger holds no such message below the offset for which the cache was
// loaded; where it cannot know, it says Ask. So what is a duplicate depends on
// the ledger alone, never on how much of it was remembered, and a replay of
// the same offsets decides the same.
package seen
