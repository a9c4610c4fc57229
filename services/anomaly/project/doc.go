// Package project keeps the warehouse's tables of incidents, verdicts and evidence equal to what the detector's log says.
//
// In: muster.incidents.v1, what was committed, from behind what the tables hold. Out: for each record a row of
// incident_rows or of verdict_rows, and one of evidence_rows for each stretch of the log that it stands on. A row is a pure
// function of its record, and its key is the record's number: what is sent twice is one row.
//
// The position is in the tables: incident_rows is written last, so that everything up to its last offset is in all three.
// A table that is empty is filled from the log's start, whatever the others hold. No offset is committed anywhere.
//
// The warehouse may be away for as long as it likes: nothing but this room waits for it. A record that cannot be read, as one of a
// later version, is counted and passed over.
package project
