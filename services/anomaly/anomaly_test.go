package anomaly

import (
	"context"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster.dev/platform/daemon"
	"muster.dev/services/anomaly/deliver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// away is a configuration of a process whose log and store are not there.
func away() Config {
	cfg := DefaultConfig()
	cfg.Ops.Listen = "127.0.0.1:0"
	cfg.Log.Brokers, cfg.Warehouse.Addr = []string{"127.0.0.1:1"}, "http://127.0.0.1:1"
	return cfg
}

func TestTheProcessLivesWithoutALogAndAStoreAndStopsAtOnce(t *testing.T) {
	cfg := away()
	cfg.Deliver.Routes = []deliver.Route{{Name: "am", Alertmanager: &deliver.Alertmanager{URLs: []string{"http://127.0.0.1:1"}}}}
	ctx, cancel := context.WithCancel(context.Background())
	p, err := daemon.New(ctx, daemon.Settings{Name: "anomaly", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(func(ctx context.Context, p *daemon.Process) error { return Run(ctx, p, cfg) }) }()
	res, err := http.Get("http://" + p.Addr() + "/livez")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", res, err)
	}
	if err == nil {
		res.Body.Close()
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not stop")
	}
}

func TestAProcessThatCannotBeConfiguredDoesNotStart(t *testing.T) {
	cfg := away()
	cfg.Detect.Silence.Missed = 0
	p, err := daemon.New(t.Context(), daemon.Settings{Name: "anomaly", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(func(ctx context.Context, p *daemon.Process) error { return Run(ctx, p, cfg) }); err == nil {
		t.Error("it ran")
	}
}
