package gateway

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/proto/batch"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/sign"
)

// stream is what a message belongs to. Its number is part of a key in the window of recent keys.
type stream uint8

const (
	telemetry stream = iota
	events
	noStream // a request to no endpoint
	streams
)

var streamNames = [streams]string{"telemetry", "events", "none"}

func (s stream) String() string { return streamNames[s] }

// metrics are counted without looking labels up: the counters of a request are fixed when the gateway starts. No label is
// ever made from what a client sends.
type metrics struct {
	received  [streams]atomic.Int64
	answered  [streams][answer.Count]atomic.Int64
	values    [streams]prometheus.Counter
	faults    map[string]prometheus.Counter // by reason, telemetry only; read-only once made
	wire      [streams]prometheus.Counter
	duration  [streams]prometheus.Observer
	regressed prometheus.Counter
	clones    *prometheus.CounterVec
	marks     *prometheus.CounterVec
}

func newMetrics(g *Gateway, reg prometheus.Registerer) *metrics {
	m := &metrics{faults: map[string]prometheus.Counter{}}
	values := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_gateway_values_total",
		Help: "Values of the messages stored, those at fault not among them; events for the stream of events.",
	}, []string{"stream"})
	faults := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_gateway_faulty_values_total",
		Help: "Values of the messages stored that the sink will quarantine, by reason.",
	}, []string{"reason"})
	wire := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_gateway_body_bytes_total",
		Help: "Bytes of bodies as they came, before decompression.",
	}, []string{"stream"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "muster_gateway_ack_duration_seconds",
		Help:    "From a request's headers to the log's acknowledgement of its message.",
		Buckets: []float64{.001, .0025, .005, .01, .015, .02, .03, .04, .06, .1, .25, .5, 1, 2, 4, 8},
	}, []string{"stream"})
	m.regressed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_gateway_seq_regressions_total",
		Help: "Messages whose seq lies below an earlier one of the same boot: a clone, a lost counter, or a late retry. Those said to be of a backlog do not count.",
	})
	m.clones = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_gateway_clone_signs_total",
		Help: "Signs that one identity is two devices, by whether the log has them; withheld are those beyond one of a device and kind in a minute.",
	}, []string{"sign", "outcome"})
	for _, kind := range sign.Kinds() {
		for _, outcome := range []string{signWritten, signWithheld, signFailed} {
			m.clones.WithLabelValues(string(kind), outcome)
		}
	}
	m.marks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_gateway_watermarks_total",
		Help: "Watermarks written to partitions of the log, by whether the log has them.",
	}, []string{"outcome"})
	for s := range streams {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "muster_gateway_received_total",
			Help:        "Requests whose headers were read. Each is counted once more in muster_gateway_requests_total when it is answered.",
			ConstLabels: prometheus.Labels{"stream": s.String()},
		}, func() float64 { return float64(m.received[s].Load()) }))
		m.values[s] = values.WithLabelValues(s.String())
		m.wire[s] = wire.WithLabelValues(s.String())
		m.duration[s] = duration.WithLabelValues(s.String())
		for r := range answer.Reason(answer.Count) {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "muster_gateway_requests_total",
				Help:        "Requests answered, by status and reason. What came in is the sum of what was stored, known before, and refused.",
				ConstLabels: prometheus.Labels{"stream": s.String(), "code": strconv.Itoa(r.Status()), "reason": r.String()},
			}, func() float64 { return float64(m.answered[s][r].Load()) }))
		}
	}
	for _, r := range batch.Reasons() {
		m.faults[r] = faults.WithLabelValues(r)
	}
	m.marks.WithLabelValues(markWritten)
	m.marks.WithLabelValues(markFailed)
	reg.MustRegister(values, faults, wire, duration, m.regressed, m.clones, m.marks,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "muster_gateway_repeated_requests_total",
			Help: "Requests answered without reading their headers again, which were those of the one before; a part of what was received.",
		}, func() float64 { return float64(g.fast.Answered()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "muster_gateway_requests_in_flight",
			Help: "Requests at work now.",
		}, func() float64 { return float64(g.requests.Used()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "muster_gateway_bytes_in_flight",
			Help: "Bytes of bodies reserved now, until the log has them.",
		}, func() float64 { return float64(g.bytes.Used()) }),
	)
	return m
}

const (
	markWritten = "written"
	markFailed  = "failed"
)

// totals are what the watermarks tell: messages in the log by this process, and those that are not, by reason.
func (m *metrics) totals() (accepted uint64, refused map[string]uint64) {
	refused = map[string]uint64{}
	for s := range streams {
		for r := range answer.Reason(answer.Count) {
			n := uint64(m.answered[s][r].Load())
			if r.Accepted() {
				accepted += n
			} else if n > 0 {
				refused[r.String()] += n
			}
		}
	}
	return accepted, refused
}

// signs counts a sign of a clone.
func (m *metrics) signs(kind sign.Kind, outcome string) {
	m.clones.WithLabelValues(string(kind), outcome).Inc()
}

// accepted counts what a stored message brought.
func (m *metrics) accepted(s stream, values int, faults []batch.Fault, took time.Duration) {
	m.values[s].Add(float64(values))
	m.duration[s].Observe(took.Seconds())
	for i := range faults {
		if c := m.faults[faults[i].Reason]; c != nil {
			c.Inc()
		}
	}
}
