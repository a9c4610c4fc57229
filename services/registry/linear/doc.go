// Package linear is a trial of the registry, and holds tests alone: whether what it answers, whatever dies, could have
// been answered by one registry that does one thing at a time and never dies (linearizability).
//
// Registries are processes of their own that are killed with SIGKILL or stopped with SIGSTOP, at points of their talk
// with the log (between a request to it and the answer) and at random times. Clients enrol, renew and revoke, and look
// devices up; what they asked and heard is a history, which porcupine holds against a model of one device (model_test.go).
// What was asked and not answered may have been done at any later time or never. Beside the history the log is judged:
// its chain, what each event goes back to, and every prefix of it.
//
// Reads are held to what they promise. Of a registry that is alone, a look-up is part of the history like any other
// command. Where two are alive, a look-up may be old: it shows the state at one place of the log, never goes back at one
// process, and includes all that this process has answered before. The model says no more of those, as no more is true:
// a process that was stopped and wakes up believes for a moment that it is still the writer.
package linear
