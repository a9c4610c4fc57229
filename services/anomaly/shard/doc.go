// Package shard is the first stage of the detector: a pure fold of one partition of the telemetry, the same partition of
// the device events, and the registry's log, into pages (package page) for the judge. It keeps the detectors' device parts
// and tells each of them what it needs; what a cohort's sums mean, it does not judge.
//
// The two topics are merged strictly by the records' times: a record is taken once the next one of the other topic is
// known. The clock moves by the watermarks of gateways alone, never by what a device or its record says, so that no
// single wrong clock closes years. At an instant that all shards have in common, and once the clock is the allowed
// lateness past it, a page is cut: first what the registry said until then, then what devices said until then, in order of
// time, whatever order it came in. What comes for a time that is closed is counted, and moves only when a device was
// last heard.
//
// While our own side was away, no device is to blame: a stretch in which no gateway wrote a watermark, or none of a
// region, is an outage of ours and told as such.
//
// Before it cuts, a shard asks where the registry's log ends (Asks, Answer). How far a page had read it stands in the
// page: who answers with that when records are read again gets the same pages, byte for byte.
package shard
