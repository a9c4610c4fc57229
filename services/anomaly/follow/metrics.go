package follow

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	written     *prometheus.CounterVec
	regenerated *prometheus.CounterVec
	restores    *prometheus.CounterVec
	snapshots   *prometheus.CounterVec
	epochs      *prometheus.CounterVec
	lives       *prometheus.CounterVec
	fenced      prometheus.Counter
	reopened    prometheus.Counter
	differs     prometheus.Counter
	lost        prometheus.Counter
	pauses      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, r *Room) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_anomaly_" + name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_anomaly_" + name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_anomaly_" + name, Help: help}, value))
	}
	m := &metrics{
		written:     counters("written_total", "What was written, once each: pages of shards, records of incidents by the judge.", "stage"),
		regenerated: counters("regenerated_total", "What was said again after a restart, and compared with the log instead of written.", "stage"),
		restores:    counters("restores_total", "How states came to be: from a snapshot, from nothing; refused is a snapshot that could not be used.", "stage", "from"),
		snapshots:   counters("snapshots_total", "Snapshots of states, by outcome.", "stage", "outcome"),
		epochs:      counters("epochs_total", "Beginnings of a new epoch, by why: first, detector, loss, unknown.", "why"),
		lives:       counters("restarts_total", "Times that a shard or the judge began again from its snapshot after an error.", "stage"),
		fenced:      counter("fenced_total", "Times that another owner had taken over before the group said so."),
		reopened:    counter("reopened_total", "Writers that were opened again, as the end of a write was not heard."),
		differs:     counter("differs_total", "Times that the log held something else than the detector says: the partition stands still."),
		lost:        counter("lost_records_total", "Records that the log no longer held when they were to be read."),
	}
	m.pauses = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "muster_anomaly_snapshot_pause_seconds", Help: "How long a detector stood still for its state to be copied.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	})
	all = append(all, m.pauses)
	gauge("lag_seconds", "How much event time was read and is not judged, of the partition with the most.", func() float64 { _, lag, _, _ := r.sums(); return float64(lag) / 1000 })
	gauge("behind_records", "Records that the log holds and that were not read yet.", func() float64 { behind, _, _, _ := r.sums(); return float64(behind) })
	gauge("parked_partitions", "Partitions, the judge among them, that stand still until an operator has looked.", func() float64 { _, _, parked, _ := r.sums(); return float64(parked) })
	gauge("assigned_partitions", "Partitions that this process judges, the judge among them.", func() float64 { _, _, _, lines := r.sums(); return float64(lines) })
	for _, stage := range []string{stageShard, stageJudge} {
		m.written.WithLabelValues(stage)
		m.regenerated.WithLabelValues(stage)
		m.lives.WithLabelValues(stage)
		for _, from := range []string{"snapshot", "nothing", "refused"} {
			m.restores.WithLabelValues(stage, from)
		}
		for _, outcome := range []string{"taken", "failed"} {
			m.snapshots.WithLabelValues(stage, outcome)
		}
	}
	for _, why := range []string{whyFirst, whyDetector, whyLoss, whyUnknown} {
		m.epochs.WithLabelValues(why)
	}
	var err error
	for _, c := range all {
		err = errors.Join(err, reg.Register(c))
	}
	if err != nil {
		return nil, fmt.Errorf("register the detectors' metrics: %w", err)
	}
	return m, nil
}

// sums are over all lines; of the lag the most.
func (r *Room) sums() (behind, lag int64, parked, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		b, g, p := l.standing.numbers()
		behind, lag, lines = behind+b, max(lag, g), lines+1
		if p {
			parked++
		}
	}
	return behind, lag, parked, lines
}
