package sign_test

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

var full = sign.Sign{
	Kind: sign.SeqBack, Time: 1_773_500_966_535, Gateway: "gateway-1", Stream: "telemetry",
	Address: "192.0.2.7", OtherAddress: "198.51.100.9", Certificate: "1f", OtherCertificate: "2e",
	Keyed: true, Boot: 7, Seq: 101, High: 5_001, More: 3,
}

func write(t testing.TB, s sign.Sign) *kgo.Record {
	t.Helper()
	r, err := s.Record("boiler-7", record.Device{No: 42, Profile: 5})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestASignComesBackAsAnEventOfItsDevice(t *testing.T) {
	r := write(t, full)
	stamp, err := record.ParseDevice([]byte(header(r, record.HeaderDevice)))
	if err != nil || stamp.No != 42 || string(r.Key) != "boiler-7" || r.Topic != record.TopicEvents || r.Timestamp.UnixMilli() != full.Time {
		t.Errorf("%+v, stamp %+v %v", r, stamp, err)
	}
	if header(r, record.HeaderType) != sign.CEType || record.IsControl(header(r, record.HeaderType)) || header(r, "ce_source") != "/muster/gateway/gateway-1" {
		t.Errorf("headers %v", r.Headers)
	}
	m, err := sign.Decode(r.Value)
	if err != nil {
		t.Fatal(err)
	}
	want := event.Message{Events: []event.Device{{TS: full.Time, Type: sign.EventType, Fields: map[string]any{
		"sign": "seq-back", "gateway": "gateway-1", "stream": "telemetry", "address": "192.0.2.7", "other_address": "198.51.100.9",
		"certificate": "1f", "other_certificate": "2e", "boot": int64(7), "seq": int64(101), "high_seq": int64(5_001), "more": int64(3),
	}}}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
}

func TestWhatASignDoesNotKnowItDoesNotSay(t *testing.T) {
	m, err := sign.Decode(write(t, sign.Sign{Kind: sign.TwoAddresses, Time: 1, Gateway: "g"}).Value)
	if err != nil || !reflect.DeepEqual(m.Events[0].Fields, map[string]any{"sign": "two-addresses", "gateway": "g"}) {
		t.Errorf("%+v %v", m, err)
	}
}

func TestTheBytesOfASignAreFrozen(t *testing.T) {
	const want = "82a17601a66576656e7473918da27473cf0000019cece52687a474797065aa636c6f6e652d7369676ea761646472657373a93139322e302e322e37a4626f6f7407ab6365727469666963617465a23166a767617465776179a9676174657761792d31a8686967685f736571cd1389a46d6f726503ad6f746865725f61646472657373ac3139382e35312e3130302e39b16f746865725f6365727469666963617465a23265a373657165a47369676ea87365712d6261636ba673747265616da974656c656d65747279"
	if got := hex.EncodeToString(write(t, full).Value); got != want {
		t.Errorf("%s", got)
	}
	old, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := sign.Decode(old); err != nil || m.Events[0].Fields["sign"] != "seq-back" {
		t.Errorf("%+v %v", m, err)
	}
}

// The parser that every message of a device meets.
func TestNoDeviceCanSendASign(t *testing.T) {
	if _, err := event.ParseDeviceMsgPack(write(t, full).Value); err == nil {
		t.Error("as MsgPack")
	}
	if _, err := event.ParseDeviceJSON([]byte(`{"events":[{"ts":1,"type":"clone-sign","sign":"seq-back"}]}`)); err == nil {
		t.Error("as JSON")
	}
}

func TestWhatIsNoSignIsRefused(t *testing.T) {
	pack := func(v any) []byte {
		p, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one := func(more map[string]any) []byte {
		e := map[string]any{"ts": 1, "type": sign.EventType, "sign": "seq-back"}
		for k, v := range more {
			e[k] = v
		}
		return pack(map[string]any{"v": 1, "events": []any{e}})
	}
	for name, x := range map[string]struct {
		p    []byte
		code batch.Code
	}{
		"nothing":          {nil, batch.Malformed},
		"junk":             {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, batch.Malformed},
		"a list":           {pack([]any{1}), batch.Malformed},
		"a later version":  {pack(map[string]any{"v": 2, "events": []any{}}), batch.UnknownVersion},
		"no event":         {pack(map[string]any{"v": 1, "events": []any{}}), batch.Unprocessable},
		"a device's event": {one(map[string]any{"type": "boot"}), batch.Unprocessable},
		"no time":          {one(map[string]any{"ts": "now"}), batch.Unprocessable},
		"a field's name":   {one(map[string]any{"x'); DROP": 1}), batch.Unprocessable},
		"a field's value":  {one(map[string]any{"x": []any{1}}), batch.Unprocessable},
	} {
		_, err := sign.Decode(x.p)
		if e, ok := batch.AsError(err); !ok || e.Code != x.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(write(f, full).Value)
	f.Add(write(f, sign.Sign{Kind: sign.TwoAddresses, Gateway: "g"}).Value)
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := sign.Decode(p)
		if err == nil && (len(m.Events) != 1 || m.Events[0].Type != sign.EventType || m.Keyed) {
			t.Errorf("%+v", m)
		}
	})
}
