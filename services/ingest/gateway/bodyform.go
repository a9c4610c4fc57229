package gateway

import (
	"net/http"
	"strings"

	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/topic"
)

// What MQTT 5 says of a message by user properties, as HTTP does by headers.
const (
	propertyBacklog     = "muster-backlog"
	propertyTraceparent = "traceparent"
)

// bodyForm finds how the body of an MQTT message is written: as its content type says (5.0), or its topic's property bag;
// else as its first byte shows.
func (c *call) bodyForm() *answer.Problem {
	kind := string(c.message.ContentType)
	if kind == "" {
		kind = c.topic.ContentType
	}
	if i := strings.IndexByte(kind, ';'); i >= 0 {
		kind = kind[:i]
	}
	switch kind = strings.TrimSpace(kind); {
	case c.topic.Dialect == topic.ThingsBoard:
		if kind != "" && !strings.EqualFold(kind, "application/json") {
			return c.problemf(answer.MediaType, "content type", 0, "%s takes application/json, not %.100q.", "v1/devices/me/telemetry", kind)
		}
		c.form = thingsBoard
		return nil
	case kind == "":
		return c.formByFirstByte()
	case strings.EqualFold(kind, typeCompact) && c.stream == telemetry:
		c.form = compact
	case strings.EqualFold(kind, "application/msgpack"):
		c.form = easyMsgPack
	case strings.EqualFold(kind, "application/json"):
		c.form = easyJSON
	default:
		return c.problemf(answer.MediaType, "content type", 0, "%s takes %s (telemetry alone), application/msgpack and application/json, not %.100q.", c.stream, typeCompact, kind)
	}
	return nil
}

// formByFirstByte knows a MsgPack array for the compact batch, a map for the easy form, and what JSON can begin with.
func (c *call) formByFirstByte() *answer.Problem {
	p := c.message.Payload
	if len(p) == 0 {
		return c.problemf(answer.Malformed, "body", 0, "The message is empty.")
	}
	switch b := p[0]; {
	case (b&0xf0 == 0x90 || b == 0xdc || b == 0xdd) && c.stream == telemetry:
		c.form = compact
	case b >= 0x80:
		c.form = easyMsgPack
	default:
		c.form = easyJSON
	}
	return nil
}

// traceparent is the message's, as a request's header; nil without one, or when nothing is traced.
func (c *call) traceparent() http.Header {
	if c.g.tracer == nil {
		return nil
	}
	if v, ok := c.message.UserProperty(propertyTraceparent); ok {
		return http.Header{"Traceparent": {string(v)}}
	}
	return nil
}
