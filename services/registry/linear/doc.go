// Package linear is a trial of the registry, and holds tests alone: whether what it answers, whatever dies, could have
// been answered by one registry that does one thing at a time and never dies (linearizability).
//
// Registries are processes of their own that are killed with SIGKILL or stopped with SIGSTOP, at points of their talk
// with the log (before a request, between it and its answer, before the answer is seen) and at random times. Clients
// enrol, renew, revoke and look devices up; what they asked and heard is a history, which porcupine holds against a model
// of one device. What was asked and not answered may have been done at any later time, or never. Beside the history the
// log is judged: its chain, what each event goes back to, what stands for each answer, and every prefix of it.
//
// What a registry answers to a command is held to be that of the one registry, whether it wrote something or not: a
// refusal too, and the certificate that a request had already. So is a look-up that first waited for the end of the log
// (Writer.Sync), and where there is one registry at a time any look-up. Where two are alive, one that did not wait may be
// old, of a standby as of a process that was stopped and still believes that it is the writer. It is held to less: it
// shows the state at one place of the log, as the log itself says, and none that is before what the same process has
// shown or acknowledged to anybody.
//
// Passwords bind devices to each other, which a model of one device cannot say; they have a trial of their own.
package linear
