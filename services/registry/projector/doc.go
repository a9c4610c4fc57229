// Package projector keeps the warehouse's tables of devices and of the registry's events equal to what the registry's
// log says.
//
// In: the log, from behind what the tables hold. Out: for each event a row of registry_events, and one row of device_rows
// for each device that it changes, under the event's offset, by which the table keeps the latest; a repetition is no row
// more. An event about a cohort or a group changes many: their rows follow in blocks, and the event is begun again if
// that was interrupted. Tables that lost their rows, because the warehouse was made anew, are noticed and filled again,
// and so are rows of a form of before.
//
// A row says what the state says: the writer's own (Settings.View), so that a million devices are not held twice, or one
// that is folded here. The writer's may be ahead of the event; then the next event about the device brings the same row
// again, under its own offset. When the log's end is reached, the tables are what any other reading of the log makes of them.
//
// The warehouse may be away for as long as it likes: nothing but this room waits for it.
package projector
