// Package native builds blocks of ClickHouse's Native format from typed,
// append-only columns.
//
// It is the hot path of the sink: a caller holds the concrete column types,
// so that appending is an inlined slice append with no interface call, no
// reflection and no allocation in the steady state. Strings of few values go
// through a dictionary whose ids the caller keeps for a whole message.
//
// The bytes are those of protocol revision 0: no block info, no flags of
// custom serialization. That is what a ClickHouse server expects of
// INSERT … FORMAT Native over HTTP when the client names no protocol
// version, and what the embedded engine expects too.
//
// ClickHouse fills a column that a block names wrongly with defaults, in
// silence. The package therefore never guesses: names and types are what the
// caller says, and whoever inserts lists the columns in the statement.
//
// It does not decode; clickhouse-go's lib/proto does, and a differential test
// holds this package to it.
package native
