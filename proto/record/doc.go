// Package record says what a log record carries beside its value: topic and header names, the device stamp that
// the gateway writes so that rows are a pure function of the log, the hash by which two messages of one key are
// told apart, and the bounds of a reading's time. It does not know any value's format.
package record
