// Package warehouse is ClickHouse as Muster uses it: the tables and views,
// how rows get in exactly once, and how it is proved that they did.
//
// What comes in: blocks that package native has encoded, under a token made of
// the plan they belong to ([Warehouse.Insert]); profiles, which become tables
// ([Warehouse.EnsureProfile]). What goes out: answers to the sink's questions
// after a crash ([Warehouse.LedgerRange], [Warehouse.DuplicateState] and
// others), the auditor's report ([Warehouse.Audit]), and a plain clickhouse-go
// connection for everything else ([Warehouse.Conn]).
//
// Every base table carries (topic_gen, part, off): which record of the log a
// row is made of. Every row is a pure function of the log, stored_at excepted.
//
// The package speaks the HTTP interface alone, since the embedded engine of
// the local stack does too. It knows nothing of Kafka, of devices' payloads or
// of who may read: that is a matter of credentials.
package warehouse
