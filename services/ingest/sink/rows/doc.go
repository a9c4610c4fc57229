// Package rows turns log records into the blocks of a plan: columnar from the
// wire to ClickHouse's Native format, with no row in between.
//
// A Message reads one record; a Sheet gathers the records of one plan, each
// with the outcome that was decided for it. The rows are a pure function of
// the records, the schema revision and those outcomes. No clock is read but
// for stored_at, which the caller stamps.
//
// It decides nothing about duplicates and sends nothing.
package rows
