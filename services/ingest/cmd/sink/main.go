// Command sink stores what the log holds in ClickHouse, each record once.
package main

import (
	"context"

	"muster.dev/platform/daemon"
	"muster.dev/services/ingest/sink"
)

func main() {
	cfg := sink.DefaultConfig()
	daemon.Main("sink", &cfg, func(ctx context.Context, p *daemon.Process) error {
		return sink.Run(ctx, p, cfg)
	})
}
