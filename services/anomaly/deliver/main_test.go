package deliver

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"muster.dev/platform/eventlog"
)

// envChild makes the test's binary a process that delivers, to be killed: it holds a child as JSON.
const envChild = "MUSTER_TEST_DELIVER"

type child struct {
	Brokers []string
	Config  Config
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(envChild); raw != "" {
		os.Exit(beChild([]byte(raw)))
	}
	goleak.VerifyTestMain(m)
}

func beChild(raw []byte) int {
	var c child
	if err := json.Unmarshal(raw, &c); err != nil {
		return 2
	}
	for i := range c.Config.Routes { // a secret is redacted on its way here
		c.Config.Routes[i].PagerDuty.RoutingKey = routingKey
	}
	d, err := New(Settings{Log: eventlog.Config{Brokers: c.Brokers, ClientID: "child"}, Config: c.Config, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error())
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	_ = d.Run(ctx)
	return 1 // it is killed before
}
