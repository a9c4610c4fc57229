package gateway

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/session"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/topic"
)

func TestEachReasonHasAWordThatItsPacketMayHave(t *testing.T) {
	// MQTT 5.0, 3.4.2.1, 3.14.2.1 and 3.2.2.2.
	puback := []packet.Reason{packet.ImplementationSpecific, packet.NotAuthorized, packet.TopicNameInvalid, packet.QuotaExceeded, packet.PayloadFormatInvalid}
	disconnect := []packet.Reason{packet.NotAuthorized, packet.ServerBusy, packet.ServerShuttingDown, packet.QuotaExceeded, packet.AdministrativeAction, packet.ServerMoved}
	connack := []packet.Reason{packet.NotAuthorized, packet.ServerUnavailable, packet.QuotaExceeded, packet.ServerMoved}
	for r := range answer.Reason(answer.Count) {
		w := dictionary[r]
		switch {
		case r.Accepted():
			if w.kind != session.Stored || w.reason != packet.Success {
				t.Errorf("%v: %+v", r, w)
			}
		case w.kind == session.Stored:
			t.Errorf("%v has none", r)
		case w.kind == session.Unsure && !slices.Contains(disconnect, w.reason), w.kind != session.Unsure && !slices.Contains(puback, w.reason):
			t.Errorf("%v: %v is not for its packet", r, w.reason)
		}
		if !slices.Contains(connack, connackOf(r)) {
			t.Errorf("%v: CONNACK may not have %v", r, connackOf(r))
		}
		// What is unknown is never acknowledged, whatever the client's owner chose.
		if r.Status() == 503 {
			for on := topic.Disconnect; on <= topic.SkipAck; on++ {
				for _, v := range []packet.Version{packet.V311, packet.V5} {
					if a := say(r, nil, on, v); a.Kind != session.Unsure {
						t.Errorf("%v, %v, %v: %+v", r, on, v, a)
					}
				}
			}
		}
	}
}

func TestWordsAreShortAndWhole(t *testing.T) {
	for _, detail := range []string{"plain", strings.Repeat("ü", 200), strings.Repeat("x", 255) + "日本", "a\x00b", "a\xffb"} {
		got := words(&answer.Problem{Detail: detail})
		if len(got) > longestWords || !utf8.ValidString(got) || strings.Contains(got, "\x00") || got == "" {
			t.Errorf("%q", got)
		}
	}
}
