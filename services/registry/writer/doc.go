// Package writer is the one hand that writes muster.registry.v1.
//
// In: commands, from any goroutine. Out: decide's outcome, once the events it stands on are in the log. Refused:
// what decide refuses, and everything while the log cannot be written (ErrUnavailable; every command is safe to
// repeat, so whoever is told this asks again).
//
// There is one writer at a time. Opening takes the place of any other under the same transactional id, and only
// then is the log read to its end, so no decision is made on less than all. Whoever lost the place learns it with
// its next write, whose records the log does not take, and Run ends with eventlog.ErrFenced: the process stops
// rather than fight for the place.
//
// Commands that wait together are decided one after another and written in one transaction. Until it is
// acknowledged nobody sees what it did to the state: readers wait for the round to end. When a write fails, or its
// outcome is unknown, the state is thrown away and folded again from the log, which alone knows.
package writer
