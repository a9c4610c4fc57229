// Package writer is the one hand that writes muster.registry.v1.
//
// In: commands, from any goroutine. Out: decide's outcome, once the events it stands on are in the log. Refused:
// what decide refuses, and everything while the log cannot be written (ErrUnavailable; every command is safe to
// repeat, so whoever is told this asks again).
//
// Several processes may run; one has the writer's place, the others stand by: they follow the log, show it to readers,
// and answer commands with ErrStandby. The place is a transactional id, which the log's broker gives to whoever asked
// last: opening takes it from any other, and only then is the log read to its end, so no decision is made on less
// than all. Whoever lost the place learns it with its next write, whose records the log does not take, or with the next
// answer that needs no write, before which the log's end is asked for; it then stands by like the others. So there is
// one history, whoever believes what.
//
// Who asks, and when, is the matter of a lease: the commit of a group without members, renewed every two seconds. A
// standby takes the place when it is given up, or was not renewed for eight; a process that is started again under the
// name that holds it takes it at once. A lease that lies or is lost costs time, never the truth.
//
// Commands that wait together are decided one after another and written in one transaction. Until it is
// acknowledged nobody sees what it did to the state: readers wait for the round to end. When a write fails, or its
// outcome is unknown, the state is thrown away and folded again from the log, which alone knows.
//
// Every so many events, and at a stop, the state is written as a snapshot (platform/snapshot) beside the rounds, which go
// on; the next start begins with it.
package writer
