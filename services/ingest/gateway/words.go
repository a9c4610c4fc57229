package gateway

import (
	"strings"
	"unicode/utf8"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/session"
	"muster.dev/services/ingest/gateway/answer"
	"muster.dev/services/ingest/gateway/topic"
)

// word is how MQTT says a reason. A PUBACK of any kind lets a client forget the message, also a failed one; so what
// nobody knows, and what is to be kept for later, gets none, and the connection ends.
type word struct {
	kind   session.Kind
	reason packet.Reason // of PUBACK, or of DISCONNECT if kind is Unsure
	hello  packet.Reason // of CONNACK; 0 is one that cannot come there
}

var dictionary = [answer.Count]word{
	answer.Stored:    {session.Stored, packet.Success, 0},
	answer.Duplicate: {session.Stored, packet.Success, 0},

	answer.Malformed:       {session.Refused, packet.PayloadFormatInvalid, 0},
	answer.BadEncoding:     {session.Refused, packet.PayloadFormatInvalid, 0},
	answer.CutBody:         {session.Refused, packet.PayloadFormatInvalid, 0},
	answer.DeviceMismatch:  {session.Refused, packet.NotAuthorized, 0},
	answer.Isolated:        {session.Refused, packet.NotAuthorized, 0},
	answer.NotFound:        {session.Refused, packet.TopicNameInvalid, 0},
	answer.Method:          {session.Refused, packet.ImplementationSpecific, 0},
	answer.Conflict:        {session.Refused, packet.ImplementationSpecific, 0},
	answer.TooLarge:        {session.Refused, packet.ImplementationSpecific, 0},
	answer.Ratio:           {session.Refused, packet.ImplementationSpecific, 0},
	answer.MediaType:       {session.Refused, packet.ImplementationSpecific, 0},
	answer.ContentEncoding: {session.Refused, packet.ImplementationSpecific, 0},
	answer.Unprocessable:   {session.Refused, packet.ImplementationSpecific, 0},
	answer.UnknownSchema:   {session.Refused, packet.ImplementationSpecific, 0},

	answer.SlowBody:   {session.Slow, packet.QuotaExceeded, 0},
	answer.DeviceRate: {session.Slow, packet.QuotaExceeded, 0},
	answer.Overloaded: {session.Slow, packet.QuotaExceeded, 0},
	answer.LogFull:    {session.Slow, packet.QuotaExceeded, 0},

	answer.BadIdentity:        {session.Unsure, packet.NotAuthorized, packet.NotAuthorized},
	answer.NotEnrolled:        {session.Unsure, packet.NotAuthorized, packet.NotAuthorized},
	answer.Revoked:            {session.Unsure, packet.AdministrativeAction, packet.NotAuthorized},
	answer.CertificateRevoked: {session.Unsure, packet.AdministrativeAction, packet.NotAuthorized},
	answer.AuthorityRevoked:   {session.Unsure, packet.AdministrativeAction, packet.NotAuthorized},
	answer.Superseded:         {session.Unsure, packet.AdministrativeAction, packet.NotAuthorized},
	answer.OtherRegion:        {session.Unsure, packet.ServerMoved, packet.ServerMoved},
	answer.DeviceConnections:  {session.Unsure, packet.QuotaExceeded, packet.QuotaExceeded},
	// 5.0 has "server unavailable" for CONNACK alone, and "server shutting down" for DISCONNECT alone.
	answer.RosterStale: {session.Unsure, packet.ServerBusy, packet.ServerUnavailable},
	answer.Draining:    {session.Unsure, packet.ServerShuttingDown, packet.ServerUnavailable},
	answer.LogSilent:   {session.Unsure, packet.ServerBusy, 0},
	answer.LogFailed:   {session.Unsure, packet.ServerBusy, 0},
	answer.LogStalled:  {session.Unsure, packet.ServerBusy, 0},
}

// say is the answer to a message. Where 3.1.1 has no word for a refusal, what becomes of the connection is what its owner
// chose in the topic's property bag.
func say(reason answer.Reason, p *answer.Problem, on topic.OnError, v packet.Version) session.Answer {
	w := &dictionary[reason]
	a := session.Answer{Kind: w.kind, Reason: w.reason}
	if p != nil {
		a.Text = words(p)
	}
	if v != packet.V5 && (w.kind == session.Refused || w.kind == session.Slow) {
		switch on {
		case topic.Ignore:
			a.Kind = session.Stored
		case topic.SkipAck:
			a.Kind = session.Skipped
		}
	}
	return a
}

// connackOf is how CONNACK says why a device is not let in.
func connackOf(r answer.Reason) packet.Reason {
	if w := dictionary[r].hello; w != 0 {
		return w
	}
	return packet.ServerUnavailable
}

// disconnectOf is how DISCONNECT says it.
func disconnectOf(r answer.Reason) packet.Reason {
	if w := dictionary[r]; w.kind == session.Unsure {
		return w.reason
	}
	return packet.NotAuthorized
}

// longestWords is how long a reason string is: the packets that carry it must fit small clients.
const longestWords = 256

// words are a problem's, as a reason string: whole characters, none that MQTT forbids.
func words(p *answer.Problem) string {
	s := strings.ToValidUTF8(p.Detail, "\uFFFD")
	if len(s) > longestWords {
		s = s[:longestWords]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}
