// Command migrate waits for ClickHouse, brings the database to this release's schema, and ends: run it before the
// services of a release start.
package main

import (
	"muster.dev/platform/daemon"
	"muster.dev/services/retention"
)

func main() { daemon.Job("migrate", retention.DefaultMigrationConfig(), retention.Migrate) }
