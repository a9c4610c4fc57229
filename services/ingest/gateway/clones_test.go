package gateway_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
)

// signs reads the signs that the log holds.
func (s *site) signs() (fields []map[string]any, records []*kgo.Record) {
	s.t.Helper()
	for _, r := range s.records(record.TopicEvents) {
		if string(header(r, record.HeaderType)) != sign.CEType {
			continue
		}
		m, err := sign.Decode(r.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		fields, records = append(fields, m.Events[0].Fields), append(records, r)
	}
	return fields, records
}

func (s *site) written(kind sign.Kind, outcome string) float64 {
	s.t.Helper()
	return s.metric("muster_gateway_clone_signs_total", "sign", string(kind), "outcome", outcome)
}

func TestOneIdentityAtTwoAddressesIsTold(t *testing.T) {
	s := open(t, nil, "boiler-1")
	id := s.ca.Device("boiler-1")
	here, there := s.from("127.0.0.1", id), s.from("127.0.0.2", id)
	for i := range 20 {
		c := here
		if i%2 == 1 {
			c = there
		}
		if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	s.eventually("it is written", func() bool { return s.written(sign.TwoAddresses, "written") == 1 })
	fields, records := s.signs()
	if len(fields) != 1 {
		t.Fatalf("%v", fields)
	}
	f, serial := fields[0], id.TLS.Leaf.SerialNumber.Text(16)
	if f["sign"] != "two-addresses" || f["address"] != "127.0.0.2" || f["other_address"] != "127.0.0.1" || f["certificate"] != serial || f["other_certificate"] != serial ||
		f["gateway"] != "gateway-under-test" || f["stream"] != "telemetry" {
		t.Errorf("%v", f)
	}
	stamp, err := record.ParseDevice(header(records[0], record.HeaderDevice))
	if err != nil || stamp.No != 1 || string(records[0].Key) != "boiler-1" || time.Since(records[0].Timestamp) > time.Minute {
		t.Errorf("%+v %v", records[0], err)
	}
	if s.written(sign.TwoAddresses, "withheld") == 0 || s.written(sign.TwoCertificates, "written") != 0 {
		t.Error("more is written, or nothing withheld")
	}
	s.balanced()
}

func TestOneIdentityUnderTwoKeysIsTold(t *testing.T) {
	s := open(t, nil, "boiler-1")
	one, two := s.ca.Device("boiler-1"), s.ca.Device("boiler-1")
	// Over HTTP/2 and HTTP/1.1: each is a connection of its own.
	first, second := s.client(one, true), s.client(two, false)
	for i := range 3 {
		s.post(first, "/v1/telemetry", typeJSON, message(1, 2*i, ""))
		s.post(second, "/v1/telemetry", typeJSON, message(1, 2*i+1, ""))
	}
	s.eventually("it is written", func() bool { return s.written(sign.TwoCertificates, "written") == 1 })
	fields, _ := s.signs()
	if len(fields) != 1 || fields[0]["sign"] != "two-certificates" || fields[0]["certificate"] != two.TLS.Leaf.SerialNumber.Text(16) || fields[0]["other_certificate"] != one.TLS.Leaf.SerialNumber.Text(16) {
		t.Errorf("%v", fields)
	}
}

func TestACounterThatGoesFarBackAndAKeyOfTwoPayloadsAreTold(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	for _, seq := range []int{5000, 4990, 5001, 101, 5002, 102} { // 4990 is a late retry
		if r := s.post(c, "/v1/telemetry", typeJSON, message(7, seq, "")); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	for range 2 {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(7, 5002, `,"note":1`+fmt.Sprintf(`,"fw":"%d"`, time.Now().UnixNano()))); r.Code != http.StatusConflict {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
	}
	s.eventually("both are written", func() bool {
		return s.written(sign.SeqBack, "written") == 1 && s.written(sign.KeyConflict, "written") == 1
	})
	fields, _ := s.signs()
	if len(fields) != 2 || s.written(sign.SeqBack, "withheld") != 1 || s.written(sign.KeyConflict, "withheld") != 1 {
		t.Fatalf("%v", fields)
	}
	for _, f := range fields {
		switch f["sign"] {
		case "seq-back":
			if f["boot"] != int64(7) || f["seq"] != int64(101) || f["high_seq"] != int64(5001) || f["address"] != "127.0.0.1" {
				t.Errorf("%v", f)
			}
		case "key-conflict":
			if f["boot"] != int64(7) || f["seq"] != int64(5002) || f["high_seq"] != nil {
				t.Errorf("%v", f)
			}
		default:
			t.Errorf("%v", f)
		}
	}
	s.balanced()
}

func TestABacklogIsNoSignAndATwiceUsedKeyOfItStillIs(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.kept(s.ca.Device("boiler-1"))
	if r := s.post(c, "/v1/telemetry", typeJSON, message(7, 5000, "")); r.Code != http.StatusOK {
		t.Fatal(r.Raw)
	}
	for seq := range 3 { // the second and the third repeat the head of the first
		if r := s.post(c, "/v1/telemetry", typeJSON, message(7, 100+seq, ""), "Muster-Backlog", "1"); r.Code != http.StatusOK || !r.Regressed {
			t.Fatal(r.Raw)
		}
	}
	if r := s.post(c, "/v1/telemetry", typeJSON, message(7, 100, `,"fw":"9"`), "Muster-Backlog", "1"); r.Code != http.StatusConflict {
		t.Fatal(r.Raw)
	}
	s.eventually("the conflict is written", func() bool { return s.written(sign.KeyConflict, "written") == 1 })
	if n := s.written(sign.SeqBack, "written") + s.written(sign.SeqBack, "withheld"); n > 0 || s.metric("muster_gateway_seq_regressions_total") > 0 {
		t.Errorf("%v signs of a backlog", n)
	}
	s.post(c, "/v1/telemetry", typeJSON, message(7, 200, "")) // says nothing of a backlog
	s.eventually("it is a sign", func() bool { return s.written(sign.SeqBack, "written") == 1 })
	s.balanced()
}

func TestAnHonestDeviceGivesNoSign(t *testing.T) {
	s := open(t, nil, "moves", "renews", "parallel", "restarts")
	send := func(c *http.Client, boot, seq int) {
		t.Helper()
		if r := s.post(c, "/v1/telemetry", typeJSON, message(boot, seq, "")); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	id := s.ca.Device("moves")
	seq := 0
	for _, address := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"} {
		c := s.from(address, id)
		for range 3 {
			seq++
			send(c, 1, seq)
		}
	}
	for i := range 3 {
		c := s.device("renews")
		send(c, 1, 2*i)
		send(c, 1, 2*i+1)
	}
	same := s.ca.Device("parallel")
	for i, one, two := 0, s.client(same, false), s.client(same, true); i < 10; i += 2 {
		send(one, 1, i+1)
		send(two, 1, i)
	}
	c := s.device("restarts")
	for boot := range 3 {
		send(c, boot, 500)
		send(c, boot, 501)
		send(c, boot+1, 0)
	}
	if fields, _ := s.signs(); len(fields) != 0 || s.metric("muster_gateway_clone_signs_total") != 0 {
		t.Errorf("%v", fields)
	}
	s.balanced()
}

func TestADeviceCannotSendASign(t *testing.T) {
	s := open(t, nil, "boiler-1")
	c := s.device("boiler-1")
	now := time.Now().UnixMilli()
	forged := map[string]any{"v": 1, "events": []any{map[string]any{"ts": now, "type": sign.EventType, "sign": "two-addresses", "gateway": "gateway-under-test"}}}
	packed, err := msgpack.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	json := fmt.Appendf(nil, `{"events":[{"ts":%d,"type":"boot"},{"ts":%d,"type":"clone-sign","sign":"two-addresses"}]}`, now, now)
	for contentType, body := range map[string][]byte{typeMsgPack: packed, typeJSON: json} {
		r := s.post(c, "/v1/events", contentType, body, "ce_type", sign.CEType, "ce-type", sign.CEType)
		if r.Code != http.StatusUnprocessableEntity || r.Reason != "unprocessable" {
			t.Errorf("%s: %d %s", contentType, r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicEvents)); n != 0 {
		t.Errorf("%d records", n)
	}
	// Nor does a header of the request become one of the record.
	body := fmt.Appendf(nil, `{"events":[{"ts":%d,"type":"boot"}]}`, now)
	if r := s.post(c, "/v1/events", typeJSON, body, "ce_type", sign.CEType, "ce-type", sign.CEType); r.Code != http.StatusOK {
		t.Fatal(r.Raw)
	}
	if r := s.records(record.TopicEvents); len(r) != 1 || string(header(r[0], record.HeaderType)) != event.TypeDevice {
		t.Errorf("%+v", r)
	}
	s.balanced()
}
