package project

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	rows       *prometheus.CounterVec
	failed     prometheus.Counter
	unreadable prometheus.Counter
	behind     atomic.Int64 // Unix ns since when the tables lack something, or may; 0: they do not
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_anomaly_projected_rows_total", Help: "Rows about incidents, verdicts and their evidence that the warehouse has taken, by table.",
		}, []string{"table"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_anomaly_projection_failures_total", Help: "Times that the projection of incidents began anew after a fault.",
		}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_anomaly_projection_unreadable_total", Help: "Records of the incidents' log that could not be read, and have no row.",
		}),
	}
	for _, t := range []table{incidentRows, verdictRows, evidenceRows} {
		m.rows.WithLabelValues(string(t))
	}
	lag := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "muster_anomaly_projection_behind_seconds", Help: "For how long the tables of incidents have lacked a record, or could not be asked; 0 when all that was read is stored.",
	}, func() float64 {
		if at := m.behind.Load(); at != 0 {
			return time.Since(time.Unix(0, at)).Seconds()
		}
		return 0
	})
	reg.MustRegister(m.rows, m.failed, m.unreadable, lag)
	return m
}

// behindSince keeps the earliest moment until caughtUp: what begins anew reads the same records again.
func (m *metrics) behindSince(at time.Time) { m.behind.CompareAndSwap(0, at.UnixNano()) }

func (m *metrics) caughtUp() { m.behind.Store(0) }
