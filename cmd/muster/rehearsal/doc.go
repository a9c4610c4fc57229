// Package rehearsal is where a simulation in fast time writes: an embedded log, and beside it, unless it is told not to, the
// store with the real sink and the real projection of devices between the two. All of it runs in this process, on ports of its
// own, in a data directory that `muster up --data DIR` opens afterwards like any other.
//
// Nothing is synced to the disk while it runs: a simulation that is cut short is run again, from the same seed.
//
// What does not belong here: what the devices say (fleet/simulator), and what is made of it (fleet/simulator/report).
package rehearsal
