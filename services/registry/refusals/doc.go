// Package refusals writes into the registry's log that somebody tried what is not allowed: one event for an attempt.
//
// In: an attempt that another room has refused. Out: an AttemptRefused event, soon, in the order of the attempts. The
// log is kept for ever, so a flood must not fill it: a token bucket says how many are written, and what was not is
// counted in the next event of the same kind.
//
// It refuses nothing itself, and nobody waits for it. What stands in its queue when the process dies is lost; what
// could not be written during an outage of the log is counted.
package refusals
