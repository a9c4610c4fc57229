// Command registry is the registry's process: see muster.dev/services/registry.
package main

import (
	"context"

	"muster.dev/platform/daemon"
	"muster.dev/services/registry"
)

func main() {
	cfg := registry.DefaultConfig()
	daemon.Main("registry", &cfg, func(ctx context.Context, p *daemon.Process) error { return registry.Run(ctx, p, cfg) })
}
