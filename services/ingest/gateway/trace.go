package gateway

import (
	"context"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"muster.dev/services/ingest/gateway/admit"
	"muster.dev/services/ingest/gateway/answer"
)

// spans are the two of one request: the server's, and within it the one of the record on its way to the log.
type spans struct {
	server, send trace.Span
	http         bool
}

// askedTraces is how many traces a second devices can ask for by a sampled traceparent, all together: it is their word
// that fills our collector. What is above is sampled as any other request.
var askedTraces = admit.Rate{Messages: 20, MessagesBurst: 50, Bytes: 1, BytesBurst: 1}

// trace begins the spans of a sampled request; nil when nothing is traced or this request is not sampled. A device's own
// decision in its traceparent is followed, within askedTraces.
func (g *Gateway) trace(c *call, header http.Header) *spans {
	if g.tracer == nil {
		return nil
	}
	// Not the request's ctx: the spans end by themselves, whatever becomes of the client.
	ctx := context.Background()
	if header.Get("Traceparent") != "" {
		theirs := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
		ok := true
		if trace.SpanContextFromContext(theirs).IsSampled() {
			ok, _ = g.asked.Take(0, 0, c.at)
		}
		if ok {
			ctx = theirs
		}
	}
	overHTTP, name := c.message == nil, "POST "+c.stream.path()
	if !overHTTP {
		name = "PUBLISH " + c.stream.String()
	}
	ctx, server := g.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.at))
	if !server.SpanContext().IsSampled() {
		server.End()
		return nil
	}
	server.SetAttributes(attribute.String("muster.device", string(c.device.ID)), attribute.Int("muster.values", c.receipt.Values))
	if overHTTP {
		server.SetAttributes(semconv.HTTPRequestMethodPost, semconv.HTTPRoute(c.stream.path()), semconv.URLScheme("https"), semconv.URLPath(c.stream.path()))
	} else {
		server.SetAttributes(semconv.NetworkProtocolName("mqtt"))
	}
	topic := c.stream.topic()
	_, send := g.tracer.Start(ctx, "send "+topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
		semconv.MessagingDestinationName(topic), semconv.MessagingMessageBodySize(len(c.value)),
	))
	return &spans{server, send, overHTTP}
}

// traceparent is what the record carries (W3C Trace Context, version 00).
func (s *spans) traceparent() []byte {
	sc := s.send.SpanContext()
	return []byte("00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01")
}

// stored ends the spans of a record that the log has.
func (s *spans) stored(rec *kgo.Record) {
	s.send.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(rec.Partition))), semconv.MessagingKafkaOffset(int(rec.Offset)))
	s.send.End()
	if s.http {
		s.server.SetAttributes(semconv.HTTPResponseStatusCode(http.StatusOK))
	}
	s.server.End()
}

// failed ends the spans of a record that the log has not confirmed, with what the device is told.
func (s *spans) failed(err error, reason answer.Reason) {
	s.send.RecordError(err)
	for _, span := range []trace.Span{s.send, s.server} {
		span.SetAttributes(semconv.ErrorTypeKey.String(reason.String()))
		span.SetStatus(codes.Error, "not confirmed")
	}
	if s.http {
		s.server.SetAttributes(semconv.HTTPResponseStatusCode(reason.Status()))
	}
	s.send.End()
	s.server.End()
}
