// Package stacktest is for tests that run a whole stack as a user does, beside whatever else the machine runs.
//
// Contract: Require skips what a laptop may lack and CI may not; FreeOffset and FreePort name ports that nobody has, nor
// another test is given before this one ends. It starts and stops nothing: what a stack is put through is each test's own.
package stacktest
