package sink

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"muster.dev/proto/record"
)

func TestWhatIsSentIsStoredOnce(t *testing.T) {
	w := newWorld(t)
	w.defineProfile(1)
	s := w.start(w.cfg)
	for range 5 {
		w.send(100)
	}
	w.stored(patience)
	w.until("what is stored is counted", patience, func() (bool, string) { // a plan that is cut off before its commit counts nothing
		n := s.metric("muster_sink_records_total")
		return n >= float64(w.records[record.TopicTelemetry]), fmt.Sprint(n)
	})
	s.stop()
	w.audit()
	sum := 0.0
	for _, o := range []string{"stored", "duplicate", "conflict", "quarantined", "control"} {
		sum += s.metric("muster_sink_records_total", "topic", record.TopicTelemetry, "outcome", o)
		if got := s.metric("muster_sink_records_total", "outcome", o); got != float64(w.want[o]) {
			t.Errorf("%s: counted %v, want %d", o, got, w.want[o])
		}
	}
	if sum != float64(w.records[record.TopicTelemetry]) {
		t.Errorf("in = %d, the outcomes' sum is %v", w.records[record.TopicTelemetry], sum)
	}
	if n := w.count("SELECT count() FROM DB.w_p1"); n == 0 {
		t.Error("nothing went to the wide table")
	}
	if n := w.count("SELECT count() FROM DB.ledger WHERE stored_at < got"); n != 0 {
		t.Errorf("%d records were stored before the gateway accepted them", n)
	}
	if held := s.metric("muster_sink_buffered_bytes"); held != 0 {
		t.Errorf("%v bytes are still held after the end", held)
	}
}

func TestTheMetricsAreWhatPrometheusAdvises(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := New(DefaultConfig(), Settings{Registerer: reg}); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
