// Package stacktest is for tests that run a whole stack as a user does, beside whatever else the machine runs.
//
// Contract: Require skips what a laptop may lack and CI may not; FreeOffset names ports that nobody has. It starts and
// stops nothing: what a stack is put through is each test's own.
package stacktest
