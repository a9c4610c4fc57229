package gateway

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"muster.dev/services/ingest/gateway/admit"
	"muster.dev/services/ingest/gateway/body"
)

func TestAPanicGivesBackWhatItsRequestHeldAndIsLogged(t *testing.T) {
	var log bytes.Buffer
	g := &Gateway{log: slog.New(slog.NewTextHandler(&log, nil)), bytes: admit.NewBudget(100)}
	c := newCall(g)
	c.begin(telemetry)
	if _, _, err := c.reader.Read(strings.NewReader("a body"), 6, body.Identity, body.Limits{Output: 100}, g.bytes); err != nil || g.bytes.Used() != 6 {
		t.Fatalf("%d bytes, %v", g.bytes.Used(), err)
	}
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("net/http hears %v", v)
			}
		}()
		defer g.settle(c)
		panic("the reason")
	}()
	if g.bytes.Used() != 0 || !c.spoiled.Load() {
		t.Errorf("%d bytes stay reserved, or the call is used again", g.bytes.Used())
	}
	for _, want := range []string{"level=ERROR", "the reason", "settle_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, log.String())
		}
	}
}
