package gateway

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// spans are the two of one request: the server's, and within it the one of the record on its way to the log.
type spans struct{ server, produce trace.Span }

// trace begins the spans of a sampled request; nil when nothing is traced or this request is not sampled. A device's own
// decision in its traceparent is followed.
func (g *Gateway) trace(c *call, r *http.Request) *spans {
	if g.tracer == nil {
		return nil
	}
	// Not the request's ctx: the spans end by themselves, whatever becomes of the client.
	ctx := context.Background()
	if r.Header.Get("Traceparent") != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, server := g.tracer.Start(ctx, "POST "+r.URL.Path, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.at))
	if !server.SpanContext().IsSampled() {
		server.End()
		return nil
	}
	server.SetAttributes(
		attribute.String("muster.device", string(c.device.ID)),
		attribute.Int("muster.values", c.receipt.Values),
		attribute.Int("muster.bytes", len(c.value)),
	)
	_, produce := g.tracer.Start(ctx, "publish "+c.stream.String(), trace.WithSpanKind(trace.SpanKindProducer))
	return &spans{server, produce}
}

// traceparent is what the record carries (W3C Trace Context, version 00).
func (s *spans) traceparent() []byte {
	sc := s.produce.SpanContext()
	return []byte("00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01")
}

func (s *spans) end(err error) {
	if err != nil {
		s.produce.RecordError(err)
		s.produce.SetStatus(codes.Error, "not confirmed")
		s.server.SetStatus(codes.Error, "not confirmed")
	}
	s.produce.End()
	s.server.End()
}
