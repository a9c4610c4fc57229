// Package sink stores what the log holds in ClickHouse, each record once.
//
// Its rooms, in the order in which a record meets them: a session follows the
// telemetry and event topics as one member of a consumer group; a worker for
// each partition reads the records into a draft, telling duplicates from new
// messages; a closed draft becomes a plan, which is written into the group's
// commit before anything is sent; landing sends the plan's blocks, the ledger
// last; and the commit that follows closes the plan.
//
// What holds at every instant, whatever dies:
//
//   - Below the committed offset everything is stored, once.
//   - At and above it only rows of the plan in the commit's metadata can be.
//   - The rows of a plan depend on its offsets, its schema revision and what
//     is stored below it. No clock decides what a row is.
//
// So a new owner reads the plan, asks the store what of it landed, sends the
// same blocks under the same tokens where something is missing, and goes on.
// Where the metadata cannot be read it asks the ledger and takes back what
// stands above the ledger's end, before it inserts.
//
// It is not the place where messages are refused: what was accepted is stored,
// or it stands in quarantine with the reason.
package sink
