// Package rollup keeps the hours of samples_1h equal to what the raw samples say.
//
// In: the ledger, which names the times that each record touched. Out: whole day-partitions of samples_1h, computed
// beside it and put in its place at once. A value that came late, twice, or in a replay needs no thought: the hours that
// it touched are computed again from the raw rows, which hold each value once.
//
// How far the ledger was read is kept by offset, per partition of the log, never by a clock: a ledger row that lands
// late, from a sink that was stopped for minutes, has an offset that was not read yet. A pass that dies before it has
// kept its progress is repeated and comes to the same.
//
// An hour is closed when it is past by the store's clock. Open hours are not stored; the view `hours` reads them from
// the raw samples, and all others from samples_1h.
//
// Minutes of metrics that have more than five values a minute are kept in the same way, beside the hours of the same days. Which
// those are is in the partition of the minutes, and replaced with them; the warehouse's view samples_1m goes by it.
//
// What it relies on: the raw rows of an hour that is computed again are there. Whoever drops raw rows must see to it
// that late ones do not come back for that day. And there is one of it: a second takes the place of the first, which
// stops when it notices, before it keeps its progress.
package rollup
