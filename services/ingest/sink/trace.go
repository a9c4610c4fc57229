package sink

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"muster.dev/services/ingest/sink/plan"
	"muster.dev/services/ingest/sink/rows"
)

// maxLinks bounds how many of a plan's sampled requests its span links to.
const maxLinks = 128

// trace begins the span of a plan. A plan has many parents, so it is none's child: it links to the requests whose
// records it stores, as far as they were sampled, and is kept if one of them was.
func (s *Sink) trace(ctx context.Context, at place, p plan.Plan, d *draft) (context.Context, trace.Span) {
	var links []trace.Link
	for _, r := range d.records {
		parent := rows.Traceparent(r)
		if parent == "" {
			continue
		}
		from := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent})
		if sc := trace.SpanContextFromContext(from); sc.IsSampled() {
			link := trace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{semconv.MessagingKafkaOffset(int(r.Offset))}}
			if links = append(links, link); len(links) == maxLinks {
				break
			}
		}
	}
	return s.tracer.Start(ctx, "process "+at.topic, trace.WithNewRoot(), trace.WithLinks(links...), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(at.topic), semconv.MessagingDestinationPartitionID(strconv.Itoa(int(at.part))),
		semconv.MessagingConsumerGroupName(s.cfg.Group), semconv.MessagingBatchMessageCount(len(d.records)),
		attribute.String("muster.plan", p.Name()),
	))
}

// traceInsert begins the span of one insert; the returned function ends it.
func (s *Sink) traceInsert(ctx context.Context, b rows.Block) (context.Context, func(error)) {
	ctx, span := s.tracer.Start(ctx, "INSERT "+b.Table, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.DBSystemNameClickHouse, semconv.DBNamespace(s.cfg.Warehouse.Database), semconv.DBCollectionName(b.Table), semconv.DBOperationName("INSERT"),
		attribute.Int("muster.rows", b.Rows),
	))
	return ctx, func(err error) {
		if err != nil {
			span.SetAttributes(semconv.ErrorTypeKey.String(classOf(err)))
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
