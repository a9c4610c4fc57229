package packet

import "fmt"

// Reason is a reason code of MQTT 5.0. Below 0x80 all is well.
type Reason byte

const (
	Success                Reason = 0x00 // also a normal disconnection
	DisconnectWithWill     Reason = 0x04
	NoMatchingSubscribers  Reason = 0x10
	NoSubscriptionExisted  Reason = 0x11
	Unspecified            Reason = 0x80
	MalformedPacket        Reason = 0x81
	ProtocolError          Reason = 0x82
	ImplementationSpecific Reason = 0x83
	UnsupportedVersion     Reason = 0x84
	BadClientID            Reason = 0x85
	BadUserOrPassword      Reason = 0x86
	NotAuthorized          Reason = 0x87
	ServerUnavailable      Reason = 0x88
	ServerBusy             Reason = 0x89
	Banned                 Reason = 0x8A
	ServerShuttingDown     Reason = 0x8B
	BadAuthMethod          Reason = 0x8C
	KeepAliveTimeout       Reason = 0x8D
	SessionTakenOver       Reason = 0x8E
	TopicFilterInvalid     Reason = 0x8F
	TopicNameInvalid       Reason = 0x90
	PacketIDInUse          Reason = 0x91
	PacketIDNotFound       Reason = 0x92
	ReceiveMaximumExceeded Reason = 0x93
	TopicAliasInvalid      Reason = 0x94
	PacketTooLarge         Reason = 0x95
	MessageRateTooHigh     Reason = 0x96
	QuotaExceeded          Reason = 0x97
	AdministrativeAction   Reason = 0x98
	PayloadFormatInvalid   Reason = 0x99
	RetainNotSupported     Reason = 0x9A
	QoSNotSupported        Reason = 0x9B
	UseAnotherServer       Reason = 0x9C
	ServerMoved            Reason = 0x9D
	SharedNotSupported     Reason = 0x9E
	ConnectionRateExceeded Reason = 0x9F
	MaximumConnectTime     Reason = 0xA0
	SubscriptionIDs        Reason = 0xA1
	WildcardNotSupported   Reason = 0xA2
)

var reasonNames = map[Reason]string{
	Success: "success", DisconnectWithWill: "disconnect with will", NoMatchingSubscribers: "no matching subscribers",
	NoSubscriptionExisted: "no subscription existed", Unspecified: "unspecified", MalformedPacket: "malformed packet",
	ProtocolError: "protocol error", ImplementationSpecific: "implementation specific", UnsupportedVersion: "unsupported protocol version",
	BadClientID: "client identifier not valid", BadUserOrPassword: "bad user name or password", NotAuthorized: "not authorized",
	ServerUnavailable: "server unavailable", ServerBusy: "server busy", Banned: "banned", ServerShuttingDown: "server shutting down",
	BadAuthMethod: "bad authentication method", KeepAliveTimeout: "keep alive timeout", SessionTakenOver: "session taken over",
	TopicFilterInvalid: "topic filter invalid", TopicNameInvalid: "topic name invalid", PacketIDInUse: "packet identifier in use",
	PacketIDNotFound: "packet identifier not found", ReceiveMaximumExceeded: "receive maximum exceeded",
	TopicAliasInvalid: "topic alias invalid", PacketTooLarge: "packet too large", MessageRateTooHigh: "message rate too high",
	QuotaExceeded: "quota exceeded", AdministrativeAction: "administrative action", PayloadFormatInvalid: "payload format invalid",
	RetainNotSupported: "retain not supported", QoSNotSupported: "QoS not supported", UseAnotherServer: "use another server",
	ServerMoved: "server moved", SharedNotSupported: "shared subscriptions not supported", ConnectionRateExceeded: "connection rate exceeded",
	MaximumConnectTime: "maximum connect time", SubscriptionIDs: "subscription identifiers not supported",
	WildcardNotSupported: "wildcard subscriptions not supported",
}

func (r Reason) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return fmt.Sprintf("reason 0x%02X", byte(r))
}

// Failed says whether the code tells of a failure.
func (r Reason) Failed() bool { return r >= 0x80 }

// ReturnCode is what 3.1.1's CONNACK says where 5.0's says r: it has six words for all of them.
func (r Reason) ReturnCode() byte {
	if !r.Failed() {
		return 0
	}
	switch r {
	case UnsupportedVersion:
		return 1
	case BadClientID:
		return 2
	case BadUserOrPassword, BadAuthMethod:
		return 4
	case NotAuthorized, Banned, AdministrativeAction:
		return 5
	}
	return 3 // server unavailable
}

// fromReturnCode is the other way round, for a client.
func fromReturnCode(c byte) (Reason, bool) {
	if int(c) >= len(fromCode) {
		return 0, false
	}
	return fromCode[c], true
}

var fromCode = [...]Reason{Success, UnsupportedVersion, BadClientID, ServerUnavailable, BadUserOrPassword, NotAuthorized}

// Error is what is wrong with a packet, in words for the owner of the client that sent it.
type Error struct {
	Reason Reason // that 5.0 names for it
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (0x%02X %v)", e.Detail, byte(e.Reason), e.Reason)
}

func malformed(format string, args ...any) error { return refuse(MalformedPacket, format, args...) }

func refuse(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}
