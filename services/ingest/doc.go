// Package ingest is the root of the ingest service; its README walks through its rooms in the order of the data.
package ingest
