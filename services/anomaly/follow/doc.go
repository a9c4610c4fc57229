// Package follow is the detectors' life between Kafka and their pure folds: it reads what a fold is to be told, writes what
// the fold says, and sees to it that each thing is said once, whatever dies.
//
// There is a line for each partition of the telemetry (a shard: its pages lie on muster.cohorts.v1) and one for the judge
// (its incidents lie on muster.incidents.v1). A consumer group says who owns which; its commits are not used. The owner of a
// line holds its transactional id, so that a former owner who does not know of it yet writes nothing more.
//
// What a line has written is numbered without gaps, and what it says next is a function of what it reads alone. So a new
// owner takes the newest snapshot that is not ahead of the last number on the topic, reads on from there, says nothing up to
// that number and compares instead: what it would have said must be, byte for byte, what is there. From the next number on it
// writes. No position is committed anywhere, for none is needed: it is the snapshot's, and the number.
//
// Where the bytes differ the line stands still ("the log and the detector differ") until an operator has looked. What goes on
// from there, as after a change of the detector itself, is a new epoch (epoch.go).
//
// What it is not: no detector. It decides nothing, and knows no time but how long to wait.
package follow
