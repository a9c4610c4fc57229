package sink

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sink/rows"
)

// Kinds of alarm. Each is something that should not be, and that a person has to look at.
const (
	alarmMetadata = "metadata" // a commit's metadata could not be read
	alarmStrays   = "strays"   // rows of an unknown plan were taken back
	alarmCount    = "count"    // the store holds more or fewer rows than the plan has
	alarmRefused  = "refused"  // the store refuses a block that should fit
	alarmLoss     = "data_loss"
)

type metrics struct {
	records     *prometheus.CounterVec
	samples     prometheus.Counter
	bytes       prometheus.Counter
	rows        *prometheus.CounterVec
	plans       prometheus.Counter
	planAge     prometheus.Histogram
	planBytes   prometheus.Histogram
	lag         prometheus.Histogram
	inserts     *prometheus.HistogramVec
	commits     *prometheus.HistogramVec
	verifies    prometheus.Counter
	repairs     prometheus.Counter
	replays     prometheus.Counter
	lookups     prometheus.Counter
	recreated   prometheus.Counter
	sessions    prometheus.Counter
	storeErrors *prometheus.CounterVec
	alarms      *prometheus.CounterVec
	dataLoss    *prometheus.GaugeVec

	workers atomic.Int64
	parked  atomic.Int64
}

func newMetrics(reg prometheus.Registerer, s *Sink) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_sink_" + name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_sink_" + name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muster_sink_" + name, Help: help, Buckets: buckets})
		all = append(all, h)
		return h
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muster_sink_" + name, Help: help, Buckets: buckets}, labels)
		all = append(all, h)
		return h
	}
	gauge := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_sink_" + name, Help: help}, value))
	}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 16)
	m := &metrics{
		records:     counters("records_total", "Records that were stored or put elsewhere, by topic and outcome; their sum is what was read.", "topic", "outcome"),
		samples:     counter("values_total", "Values stored: samples, and device events."),
		bytes:       counter("record_bytes_total", "Bytes of the records' values."),
		rows:        counters("rows_total", "Rows sent and acknowledged, by table; repeats count again.", "table"),
		plans:       counter("plans_total", "Plans that were closed."),
		planAge:     histogram("plan_age_seconds", "From a plan's first record to its closing commit.", prometheus.ExponentialBuckets(0.01, 2, 14)),
		planBytes:   histogram("plan_bytes", "Bytes of a plan's blocks.", prometheus.ExponentialBuckets(1<<10, 4, 10)),
		lag:         histogram("lag_seconds", "From a record's time, which is when the gateway accepted it, to its closing commit; sampled.", []float64{.1, .25, .5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 10, 30, 60, 300, 3600, 86400}),
		inserts:     histograms("insert_seconds", "Time of one insert, by outcome.", seconds, "outcome"),
		commits:     histograms("commit_seconds", "Time of one try to commit, by outcome.", seconds, "outcome"),
		verifies:    counter("verifies_total", "Times the store was asked what of a block is there."),
		repairs:     counter("repairs_total", "Blocks of which only what was missing was sent, after the store may have forgotten tokens."),
		replays:     counter("replayed_plans_total", "Plans that were found open at an assignment."),
		lookups:     counter("looked_up_keys_total", "Messages for which the ledger was asked whether they are stored."),
		recreated:   counter("recreated_partitions_total", "Partitions of topics that were deleted and created again."),
		sessions:    counter("broken_sessions_total", "Sessions with the group that ended otherwise than by the process's end."),
		storeErrors: counters("store_errors_total", "Failures of the store, by class.", "class"),
		alarms:      counters("alarms_total", "What should not be: see the log for which.", "kind"),
		dataLoss: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_sink_lost_records", Help: "Offsets that the log does not hold and that were not stored; the partition stands still.",
		}, []string{"topic", "partition"}),
	}
	all = append(all, m.dataLoss)
	gauge("open_plan_seconds", "Age of the oldest plan that is under way; it grows while nothing can be stored.", func() float64 { return s.underWay.oldest().Seconds() })
	gauge("assigned_partitions", "Partitions that this process stores.", func() float64 { return float64(m.workers.Load()) })
	gauge("parked_partitions", "Partitions that stand still because records are gone that were not stored.", func() float64 { return float64(m.parked.Load()) })
	gauge("buffered_bytes", "Bytes of records and blocks that are held.", func() float64 { return float64(s.budget.held.Load()) })
	for _, t := range []string{record.TopicTelemetry, record.TopicEvents} {
		for _, o := range []rows.Outcome{rows.Stored, rows.Duplicate, rows.Conflict, rows.Quarantined, rows.Controlled} {
			m.records.WithLabelValues(t, o.String())
		}
	}
	for _, kind := range []string{alarmMetadata, alarmStrays, alarmCount, alarmRefused, alarmLoss} {
		m.alarms.WithLabelValues(kind)
	}
	for _, class := range []warehouse.Class{warehouse.InDoubt, warehouse.Transient, warehouse.Permanent} {
		m.storeErrors.WithLabelValues(class.String())
	}
	var err error
	for _, c := range all {
		err = errors.Join(err, reg.Register(c))
	}
	if err != nil {
		return nil, fmt.Errorf("register the sink's metrics: %w", err)
	}
	return m, nil
}

// alarm counts and says what should not be.
func (s *Sink) alarm(kind, what string, args ...any) {
	s.m.alarms.WithLabelValues(kind).Inc()
	s.log.Error("alarm: "+what, append([]any{"kind", kind}, args...)...)
}
