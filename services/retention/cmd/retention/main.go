// Command retention is the retention service's process: see muster.dev/services/retention.
package main

import (
	"context"

	"muster.dev/platform/daemon"
	"muster.dev/services/retention"
)

func main() {
	cfg := retention.DefaultConfig()
	daemon.Main("retention", &cfg, func(ctx context.Context, p *daemon.Process) error { return retention.Run(ctx, p, cfg) })
}
