package event

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/record"
)

// MaxRegistryValue is the number of bytes that a registry event may have.
const MaxRegistryValue = 1 << 20

// Header is a Kafka record header.
type Header struct {
	Key   string
	Value []byte
}

// Registry is one event of the registry: a link of the chain, and what it declares.
type Registry struct {
	N    uint64   // 1, 2, 3, ... without gaps
	Prev [32]byte // SHA-256 of the value of the record before; zero for the first
	Time int64    // Unix ms, for people: nothing is decided by it
	Who  string   // principal
	Why  string
	Body Body
}

// Body is what an event declares.
type Body interface {
	// Type is the ce_type.
	Type() string
	validate() *batch.Error
}

// Chain is the Prev of the event that follows the record of this value.
func Chain(value []byte) [32]byte { return sha256.Sum256(value) }

type link struct {
	V    uint64             `msgpack:"v"`
	N    uint64             `msgpack:"n"`
	Prev []byte             `msgpack:"prev"`
	Time int64              `msgpack:"time"`
	Who  string             `msgpack:"who"`
	Why  string             `msgpack:"why"`
	Type string             `msgpack:"type,omitempty"` // as the header says it, for the chain to cover; events of old have none
	Body msgpack.RawMessage `msgpack:"body"`
}

// Encode gives a record's value and headers. It fails with what a reader would refuse.
func (e Registry) Encode() (value []byte, headers []Header, err error) {
	if e.Body == nil {
		return nil, nil, refuse(batch.Unprocessable, "body", "is missing", 0)
	}
	if err := e.validate(); err != nil {
		return nil, nil, err
	}
	if _, unknown := e.Body.(Unknown); unknown {
		return nil, nil, refuse(batch.Unprocessable, "ce_type", strconv.Quote(e.Body.Type())+" is not known here and cannot be written", 0)
	}
	body, err := encode(e.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("write %s: %w", e.Body.Type(), err)
	}
	value, err = encode(link{V: Version, N: e.N, Prev: e.Prev[:], Time: e.Time, Who: e.Who, Why: e.Why, Type: e.Body.Type(), Body: body})
	if err != nil {
		return nil, nil, fmt.Errorf("write %s: %w", e.Body.Type(), err)
	}
	if len(value) > MaxRegistryValue {
		return nil, nil, refuse(batch.TooLarge, "value", "has "+strconv.Itoa(len(value))+" bytes", MaxRegistryValue)
	}
	return value, cloudEvent(e.Body.Type(), "/muster/registry", strconv.FormatUint(e.N, 10), e.Time), nil
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	enc.UseCompactInts(true)
	enc.SetSortMapKeys(true) // equal events have equal bytes: the chain is made of them
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// cloudEvent gives the headers of CloudEvents 1.0, Kafka binding, binary mode.
func cloudEvent(ceType, source, id string, timeMS int64) []Header {
	return []Header{
		{record.HeaderType, []byte(ceType)},
		{"ce_specversion", []byte("1.0")},
		{"ce_id", []byte(id)},
		{"ce_source", []byte(source)},
		{"ce_time", []byte(time.UnixMilli(timeMS).UTC().Format(time.RFC3339Nano))},
		{"content-type", []byte("application/msgpack")},
	}
}

func (e *Registry) validate() *batch.Error {
	switch {
	case e.N == 0 || e.N > batch.MaxSeq:
		return refuse(batch.Unprocessable, "n", "must count from 1", batch.MaxSeq)
	case e.Time < 0 || e.Time > batch.MaxTime:
		return refuse(batch.Unprocessable, "time", "must be Unix milliseconds", batch.MaxTime)
	}
	for field, s := range map[string]string{"who": e.Who, "why": e.Why} {
		if err := checkText(field, s); err != nil {
			return err
		}
	}
	return e.Body.validate()
}

func checkText(field, s string) *batch.Error {
	if len(s) > batch.MaxText {
		return refuse(batch.Unprocessable, field, "is too long", batch.MaxText)
	}
	if !plain(s) {
		return refuse(batch.Unprocessable, field, "holds a control character or is not UTF-8", 0)
	}
	return nil
}

// DecodeRegistry reads a record. An event of a type that is not known here comes back with the body Unknown, so that
// its link can still be followed. A refusal is a *batch.Error; of a later version its code is UnknownVersion.
func DecodeRegistry(headers []Header, value []byte) (Registry, error) {
	e, err := decodeRegistry(headers, value)
	if err != nil {
		return Registry{}, err
	}
	return e, nil
}

func decodeRegistry(headers []Header, value []byte) (Registry, *batch.Error) {
	var l link
	if err := decode(value, &l); err != nil {
		return Registry{}, err
	}
	if l.V != Version {
		return Registry{}, refuse(batch.UnknownVersion, "v", strconv.FormatUint(l.V, 10)+" is not known here", Version)
	}
	if len(l.Prev) != sha256.Size {
		return Registry{}, refuse(batch.Unprocessable, "prev", "has "+strconv.Itoa(len(l.Prev))+" bytes", sha256.Size)
	}
	e := Registry{N: l.N, Prev: [32]byte(l.Prev), Time: l.Time, Who: l.Who, Why: l.Why}
	ceType := TypeOf(headers)
	if ceType == "" {
		return Registry{}, refuse(batch.Malformed, record.HeaderType, "is missing: the record is no event", 0)
	}
	if l.Type != "" && l.Type != ceType {
		return Registry{}, refuse(batch.Malformed, record.HeaderType, fmt.Sprintf("is %.80q, and the event says that it is %.80q", ceType, l.Type), 0)
	}
	var err *batch.Error
	if e.Body, err = decodeBody(ceType, l.Body); err != nil {
		return Registry{}, err
	}
	if err := e.validate(); err != nil {
		return Registry{}, err
	}
	return e, nil
}

// decode is the one door through which bytes reach vmihailenco/msgpack.
func decode(p []byte, into any) *batch.Error {
	limits := batch.DefaultLimits()
	limits.Body = MaxRegistryValue
	if err := batch.Scan(p, limits); err != nil {
		refusal, _ := batch.AsError(err)
		return refusal
	}
	if len(p) == 0 || p[0]&0xf0 != 0x80 && p[0] != 0xde && p[0] != 0xdf {
		return refuse(batch.Malformed, "value", "must be a map", 0)
	}
	if err := msgpack.Unmarshal(p, into); err != nil {
		return refuse(batch.Malformed, "value", err.Error(), 0)
	}
	return nil
}

// bodies reads the body of each type that is known here.
var bodies = map[string]func([]byte) (Body, *batch.Error){
	TypeDeviceEnrolled:         body[DeviceEnrolled],
	TypeDeviceRevoked:          body[DeviceRevoked],
	TypeProfileDefined:         body[ProfileDefined],
	TypeMetricAdded:            body[MetricAdded],
	TypeSchemaDefined:          body[SchemaDefined],
	TypeTopicDefined:           body[TopicDefined],
	TypeCertificateIssued:      body[CertificateIssued],
	TypeCertificateRevoked:     body[CertificateRevoked],
	TypeIssuerDefined:          body[IssuerDefined],
	TypeIssuerRevoked:          body[IssuerRevoked],
	TypeDeviceQuarantined:      body[DeviceQuarantined],
	TypeDeviceReplaced:         body[DeviceReplaced],
	TypeDeviceMoved:            body[DeviceMoved],
	TypeDeviceDescribed:        body[DeviceDescribed],
	TypeCohortDefined:          body[CohortDefined],
	TypeCohortRevoked:          body[CohortRevoked],
	TypeCohortQuarantined:      body[CohortQuarantined],
	TypeGroupDefined:           body[GroupDefined],
	TypeGroupRemoved:           body[GroupRemoved],
	TypeRegionDefined:          body[RegionDefined],
	TypeActingGranted:          body[ActingGranted],
	TypeActingWithdrawn:        body[ActingWithdrawn],
	TypeLineDefined:            body[LineDefined],
	TypePasswordMade:           body[PasswordMade],
	TypePasswordWithdrawn:      body[PasswordWithdrawn],
	TypeManufacturerTrusted:    body[ManufacturerTrusted],
	TypeManufacturerDistrusted: body[ManufacturerDistrusted],
	TypeSerialsClaimed:         body[SerialsClaimed],
	TypeSerialsReleased:        body[SerialsReleased],
	TypeTokenMade:              body[TokenMade],
	TypeTokenWithdrawn:         body[TokenWithdrawn],
	TypeAttemptRefused:         body[AttemptRefused],
	TypeSnapshotTaken:          body[SnapshotTaken],
	TypeRolloutStarted:         body[RolloutStarted],
	TypeRolloutAssigned:        body[RolloutAssigned],
	TypeRolloutStageStarted:    body[RolloutStageStarted],
	TypeRolloutChanged:         body[RolloutChanged],
	TypeIncidentAcknowledged:   body[IncidentAcknowledged],
}

func decodeBody(ceType string, p []byte) (Body, *batch.Error) {
	read, ok := bodies[ceType]
	if !ok {
		return Unknown{ceType}, nil
	}
	return read(p)
}

func body[T Body](p []byte) (Body, *batch.Error) {
	var b T
	if err := decode(p, &b); err != nil {
		return nil, err
	}
	if b, ok := any(&b).(interface{ normal() }); ok {
		b.normal()
	}
	return b, nil
}

// Unknown is the body of an event of a later release. Only its link counts.
type Unknown struct{ CEType string }

// Type is the ce_type that was read.
func (u Unknown) Type() string { return u.CEType }

func (u Unknown) validate() *batch.Error { return nil }
