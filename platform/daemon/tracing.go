package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// newTracing gives a provider that exports to endpoint, or one that does nothing. A caller's sampling decision is
// followed; a trace that begins here is kept with the given ratio, or if it links to one that is kept.
func newTracing(ctx context.Context, s Settings, log *slog.Logger, reg prometheus.Registerer) (trace.TracerProvider, func(context.Context) error, error) {
	nothing := func(context.Context) error { return nil }
	if s.OTLPEndpoint == "" {
		return noop.NewTracerProvider(), nothing, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimRight(s.OTLPEndpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("trace exporter for %s: %w", s.OTLPEndpoint, err)
	}
	reported := &reportedExporter{SpanExporter: exporter, log: log, failed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_trace_export_failed_spans_total",
		Help: "Spans that the collector did not take; tracing never holds up the work that is traced.",
	})}
	if err := reg.Register(reported.failed); err != nil {
		return nil, nil, fmt.Errorf("register trace metrics: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(reported),
		sdktrace.WithSampler(sdktrace.ParentBased(linked{sdktrace.TraceIDRatioBased(s.TraceRatio)})),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "muster-"+s.Name),
			attribute.String("service.version", s.Version),
		)),
	)
	return provider, provider.Shutdown, nil
}

// linked keeps what links to something that is kept: a batch has no parent, and without it a request that was traced
// would end at the log.
type linked struct{ sdktrace.Sampler }

func (l linked) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, link := range p.Links {
		if link.SpanContext.IsSampled() {
			return sdktrace.AlwaysSample().ShouldSample(p)
		}
	}
	return l.Sampler.ShouldSample(p)
}

func (l linked) Description() string { return "Linked{" + l.Sampler.Description() + "}" }

// reportedExporter counts what could not be exported and says so once per outage: the SDK would hand each failure
// to a global handler.
type reportedExporter struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed prometheus.Counter
	down   atomic.Bool
}

func (e *reportedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		e.down.Store(false)
		return nil
	}
	e.failed.Add(float64(len(spans)))
	if !e.down.Swap(true) {
		e.log.Warn("traces are not exported", "error", err)
	}
	return nil
}
