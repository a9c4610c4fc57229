// Package clickhouse is the store of the local stack: the real ClickHouse engine, loaded as a shared library
// (libchdb) without cgo, behind ClickHouse's own HTTP interface, so that clickhouse-go (Protocol: HTTP), curl and
// Grafana connect unchanged.
//
// # One engine in a process
//
// The library runs one engine, on one path, in a process, and Start refuses a second while one runs. After Close
// another may be started in the same process, on the same path or another, and finds what was written (a test does
// it five times); the library's authors warn that a process which does so over and over may corrupt its memory. So a
// test binary starts one server and gives each test a database of its own in it, or starts a child process for
// each store. Anonymous queries see every database; the URL's database= says where a name without one is looked up.
//
// # Exactly once
//
// An INSERT with data is handed to the engine as an INSERT (insert.go lists its settings): one POST is one block, so
// one part in each partition. insert_deduplication_token drops a repeated POST partition by partition, completes
// one that landed in part, feeds materialized views once, and survives kill -9. It needs
// non_replicated_deduplication_window on the table (on the view's table, too). INSERT ... SELECT with a token
// is deduplicated the same way. A body that breaks off, and an insert that is killed, stores nothing.
//
// # Who may do what
//
// A request with the service user's secret may do everything. A request without credentials is an analyst: it
// reads. The engine itself enforces that, by a role without any right to write or to read files, URLs or other
// sources, in readonly=2; analyst.go lists what the engine cannot enforce and this package does.
//
// # One request, one connection
//
// Each request has a connection of the library to itself (0.3 ms), so that SET, USE and temporary tables end
// with their request, as they do on a server without session_id. Settings and parameters of the URL are set on it.
//
// # What is not there
//
// Sessions, users beyond the two, progress headers, /play, the native protocol on 9000.
package clickhouse
