// Package batch is the telemetry message: one device's samples as columns, one column a metric.
//
// Batch.Decode reads the compact form in one bounded pass and without allocating once its memory has grown; the
// columns it gives alias the input. Builder gathers samples in any order and writes the compact form; ParseJSON
// and ParseMsgPack fill one from the easy form. Batch.Judge says which values are not to be stored, and is a pure
// function of the bytes and the record's time, so that gateway and sink, today and in a replay, agree.
//
// FORMAT.md in the folder above is the contract of the bytes. A refused message comes with an *Error that names
// field, limit and remedy; a refused value comes with a Fault, and its neighbours are kept.
package batch
