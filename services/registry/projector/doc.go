// Package projector keeps the warehouse's table of devices equal to what the registry's log says of them.
//
// In: the log, from its start. Out: one row of device_rows for each event about a device, under the event's offset, by
// which the table keeps the latest and a repetition is no row more. What the table holds already is not sent again; a
// table that lost its rows, because the warehouse was made anew, is noticed and filled again.
//
// The warehouse may be away for as long as it likes: nothing but this room waits for it.
package projector
