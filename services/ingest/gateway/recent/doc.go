// Package recent remembers the keys (device, stream, boot, seq) of the messages that were answered lately or are on
// their way to the log, with the hash of each: a retry joins the one on its way or is answered at once, and the same
// key with another payload is a conflict.
//
// It saves the log and the sink the common retry. It promises nothing: it is bounded, it dies with the process, and
// another gateway knows nothing of it. Exactly once is the sink's.
package recent
