// Package clickhouse is the store of the local stack: the real ClickHouse engine, loaded as a shared library
// (libchdb) without cgo, behind ClickHouse's own HTTP interface, so that clickhouse-go (Protocol: HTTP), curl and
// Grafana connect unchanged.
//
// # One engine in a process
//
// The library runs one engine, on one path, in a process. Start refuses a second server while one runs. After
// Close another may be started, on the same path or another, and finds what was written; the library's authors
// warn that doing so many times in one process is not what it was made for. A test binary starts one server and
// gives each test a database of its own, or starts a child process for each store.
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
