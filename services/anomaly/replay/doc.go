// Package replay folds a stretch of the log once more, as the detector did, and holds what comes of it against what the
// detector said: the same incident, byte for byte, or a reason why not. What the log holds no longer, a bundle may: it has
// the snapshots and records that an incident rests on, in one file that needs no cluster.
//
// It writes nothing to the log.
package replay
