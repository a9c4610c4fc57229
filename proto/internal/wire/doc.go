// Package wire reads untrusted MsgPack and JSON as a flat sequence of tokens under limits of depth, number of
// elements, keys and bytes. Both readers are iterative, hold no more than their input can pay for, and refuse
// what two readers could understand differently: duplicate keys, keys that are no strings, extension types,
// invalid UTF-8, bytes after the document. It gives tokens their types and nothing more; what the tokens mean is
// for packages batch and event. The hot path (the compact batch) has its own reader in package batch.
package wire
