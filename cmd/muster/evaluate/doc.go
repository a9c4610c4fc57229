// Package evaluate asks how good the detectors are: it plays scenarios onto a log of their own, lets the detectors read that
// log as they would any other, and holds the incidents that come of it against the truth that the simulator wrote.
//
// The judge sees nothing but truth and incidents. What an on-call engineer must be told is a Want; one incident for one Want is
// right, a second one, or another sign of the same cause, is one too many, and what nothing in the truth explains is false.
// A Want is told by what was opened in its time, and about its devices: what was open before for reasons of its own tells nothing.
package evaluate
