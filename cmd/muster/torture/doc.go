// Package torture kills the local stack's real processes while a fleet posts through the public surface, and then
// proves from outside that what was answered for is stored once, in order and with every value.
//
// It holds tests only. The oracle stands on three things that the stack does not write: the fleet's fsynced journal of
// what was answered with 2xx, the fleet's memory of all that it ever sent, and a reading of the whole log from its
// beginning, from which it says by itself what the ledger's row of each offset must be.
//
// The quick form is part of every test run. The full form (MUSTER_TORTURE=full) goes on for MUSTER_TORTURE_DURATION.
// Each run prints its seed; MUSTER_SEED replays its faults in the same order, at times that the machine decides.
//
// It is no test of one room: the sink's own tests die at single instructions, and the gateway's meet the hostile
// clients. What is tried here, and what runs have shown, stands in docs/torture.md.
package torture
