// Package series is the streaming detector of telemetry: for each series, one metric of one device, it says how unusual
// a value is, and when a series goes flat, jumps, drifts, grows noisy or comes at another rate.
//
// A Detector judges one series row by row. It looks at three things: the level, the value beside the last few dozen, and
// what is left of it when the time of day is taken away, this only as far as the time of day explains anything. Each is
// held against its own usual scatter and against its own rare values; what comes each day at the same time is remembered;
// after an alarm it takes more to alarm again. The same constants serve all series. CSV runs it over a file, and names what is flat.
//
// A Bank holds the detectors of one shard: rows gather in buckets of five minutes of event time, whose mean is a row of
// the Detector. Beside it a series is watched for what a mean does not show, and, where a shard has peers of it, held
// against their median; the median is watched too. A series that only rises or only falls is judged by its steps. A Bank is
// bounded: the first series that come have a place until the budget is full, rows beyond it are
// counted, and who was not heard for a week gives its place up. Peers, in the judge, tells one device that is unlike its
// peers, whatever its metrics do, from several that change at once, and from all peers that move together.
//
// Everything here is a pure function of the rows: no clock, no random numbers, no fused products, and logarithms of its
// own, so that equal rows give equal bytes on every machine. NaN and infinities are refused before they reach a state.
//
// NAB judges the detector by the rules of the Numenta Anomaly Benchmark (arXiv:1510.03336).
package series
