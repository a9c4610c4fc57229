// Package supervise keeps the processes of one local stack alive: it starts each, waits until it says that it
// is ready, starts it again when it dies, and stops all in the reverse of the order in which they began.
//
// Contract: a process is started in a group of its own, so that Ctrl-C reaches only the supervisor and the
// order of the stop is ours. Each child inherits the reading end of a pipe whose writing end only the
// supervisor holds; a child that reads end-of-file there knows that its supervisor is gone, however it went,
// and ends itself (Watch). Output goes straight into a file, so that a child never blocks on, nor dies with,
// its supervisor.
//
// It knows nothing of Muster: what to run, where it listens and in which order is the stack's.
package supervise
