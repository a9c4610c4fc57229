// Package roster is the read side of muster.registry.v1: who is enrolled, under which number, cohort and profile,
// who is revoked, which metrics a profile has had since which revision, which schemas and topics there are.
//
// State is the fold of the log and nothing else: no clock, no network; the registry's own writer uses it too.
// Follow keeps a State up with the log, and knows how old its knowledge is: Age is the time since the log's end was
// last known to be reached, so a process that is cut off from the log notices within seconds, and refuses.
//
// A record counts only if it chains: it carries the number after the last one's and the SHA-256 of the last one's
// bytes. What does not chain, or says what cannot be, is ignored, counted by reason and reported; it never stops the
// fold.
//
// A fold may begin with a snapshot instead of the log's start (platform/snapshot); the state is the same.
//
// Standing is the one place that says whether a certificate speaks for a device now.
//
// What does not belong here: writing to the log, making certificates, rollouts.
package roster
