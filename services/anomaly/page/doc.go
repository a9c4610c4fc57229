// Package page is what a shard of the detector tells the judge: the sums over its devices of one stretch of event
// time, on muster.cohorts.v1. A page is a pure function of the log, numbered without gaps for each partition, and
// says up to which offsets its shard had read: so it is the shard's position, too.
//
// On the log a page is a MsgPack map of at most a megabyte. One that would be longer names fewer devices; its sums stay.
package page
