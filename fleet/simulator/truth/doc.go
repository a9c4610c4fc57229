// Package truth is the file that says what befell a simulated fleet: what happened to whom, when, and why. Detectors are
// judged against it, so it is written by the simulator alone, from what it decided and not from what was seen.
//
// The file is JSON lines: a header, then one line for each thing that happened, in order of time, each time in RFC 3339
// with milliseconds, UTC. docs/writing-a-scenario.md lists the kinds.
package truth
