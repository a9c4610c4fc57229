// Package judge is the second of the detector's two folds: it merges what all shards tell, cut by cut, lets the detectors'
// cohort parts judge it, and gives the records of muster.incidents.v1, numbered without gaps.
//
// Pages come partition by partition, in any order between them; a cut is judged when the page of every partition that
// may belong to it is there, and the registry's log as far as any of their shards had read it. So the records are a pure
// function of the log, whatever came first. State has no clock, no connection and no goroutine.
package judge
