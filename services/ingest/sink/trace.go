package sink

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"muster.dev/services/ingest/sink/plan"
	"muster.dev/services/ingest/sink/rows"
)

// maxLinks bounds how many of a plan's sampled requests its span links to.
const maxLinks = 128

// trace begins the span of a plan. A plan has many parents, so it is none's child: it links to the requests whose
// records it stores, as far as they were sampled.
func (s *Sink) trace(ctx context.Context, p plan.Plan, d *draft) (context.Context, trace.Span) {
	var links []trace.Link
	for _, r := range d.records {
		parent := rows.Traceparent(r)
		if parent == "" {
			continue
		}
		from := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent})
		if sc := trace.SpanContextFromContext(from); sc.IsSampled() {
			if links = append(links, trace.Link{SpanContext: sc}); len(links) == maxLinks {
				break
			}
		}
	}
	return s.tracer.Start(ctx, "sink.plan", trace.WithNewRoot(), trace.WithLinks(links...), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "kafka"),
		attribute.Int64("messaging.kafka.offset", p.From),
		attribute.Int("messaging.batch.message_count", len(d.records)),
		attribute.Int64("muster.partition", int64(p.Part)),
	))
}

// traceInsert begins the span of one insert; the returned function ends it.
func (s *Sink) traceInsert(ctx context.Context, b rows.Block) (context.Context, func(error)) {
	ctx, span := s.tracer.Start(ctx, "sink.insert", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system", "clickhouse"),
		attribute.String("db.collection.name", b.Table),
		attribute.Int("muster.rows", b.Rows),
	))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
