// Command gateway takes devices' messages over HTTPS into the log.
package main

import (
	"context"

	"muster.dev/platform/daemon"
	"muster.dev/services/ingest/gateway"
)

func main() {
	cfg := gateway.DefaultConfig()
	daemon.Main("gateway", &cfg, func(ctx context.Context, p *daemon.Process) error { return gateway.Run(ctx, p, cfg) })
}
