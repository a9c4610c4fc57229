// Command anomaly is the detectors' process: see muster.dev/services/anomaly.
package main

import (
	"context"

	"muster.dev/platform/daemon"
	"muster.dev/services/anomaly"
)

func main() {
	cfg := anomaly.DefaultConfig()
	daemon.Main("anomaly", &cfg, func(ctx context.Context, p *daemon.Process) error { return anomaly.Run(ctx, p, cfg) })
}
