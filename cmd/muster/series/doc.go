// Package series reads a recorded series, a CSV of `timestamp,value`, and cuts it into a device's messages.
//
// Contract: the cut and the keys (boot, seq) are a pure function of the metric's name and the file's rows, so that
// sending a file again, whole or after an interruption, sends the same messages under the same keys, and the
// pipeline stores none of them twice. Two rows of one time both survive: a message holds a metric at most once per
// time, so the second row opens the next message. A file that cannot be read to its end is refused whole.
//
// It does not send: that is fleet/device's work.
package series
