// Command edge is an edge gateway: it takes what local devices say over MQTT, keeps it, and sends it to the fleet's gateway.
package main

import (
	"context"

	"muster.dev/fleet/edge"
	"muster.dev/platform/daemon"
)

func main() {
	cfg := edge.DefaultConfig()
	daemon.Main("edge", &cfg, func(ctx context.Context, p *daemon.Process) error { return edge.Run(ctx, p, cfg) })
}
