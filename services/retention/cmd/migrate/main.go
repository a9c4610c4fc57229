// Command migrate waits for ClickHouse, brings the database to this release's schema, and ends: run it before the
// services of a release start.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"muster.dev/platform/daemon"
	"muster.dev/services/retention"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	path := flags.String("config", "", "YAML `FILE`; MUSTER_<SECTION>_<KEY> in the environment overrides it")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return daemon.ExitUsage
	}
	cfg := retention.DefaultMigrationConfig()
	if err := daemon.Load(*path, &cfg, os.LookupEnv); err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		return daemon.ExitUsage
	}
	say := func(line string) { fmt.Fprintln(os.Stderr, "migrate:", line) }
	if err := retention.Migrate(ctx, cfg, say); err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		return daemon.ExitFailed
	}
	return daemon.ExitOK
}
