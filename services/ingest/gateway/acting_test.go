package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/sign"
)

// said declares something of the registry's, and waits until the gateway has heard it.
func (s *site) said(bodies ...event.Body) {
	s.t.Helper()
	for _, body := range bodies {
		s.declare(body)
	}
	s.eventually("the gateway does not hear the registry", func() bool {
		return s.metric("muster_roster_applied_events_total") == float64(s.n)
	})
}

// hall is a gateway whose agent "edge" (1) speaks for boiler-2 (2) and for the cohort hall: boiler-3 (3) and boiler-4 (4);
// stranger (5) is nobody's.
func hall(t testing.TB, change func(*gateway.Config)) *site {
	t.Helper()
	s := open(t, change, "edge", "boiler-2")
	s.enroll(event.DeviceEnrolled{Device: "boiler-3", Cohort: "hall"})
	s.enroll(event.DeviceEnrolled{Device: "boiler-4", Cohort: "hall"})
	s.enroll(event.DeviceEnrolled{Device: "stranger"})
	s.said(event.ActingGranted{Agent: 1, Devices: []uint32{2}, Cohort: "hall"})
	return s
}

// of are the records of a device, and who sent them.
func (s *site) of(topic, device string) (records []*kgo.Record, senders []uint32) {
	s.t.Helper()
	for _, r := range s.records(topic) {
		if string(r.Key) != device || record.IsControl(string(header(r, record.HeaderType))) {
			continue
		}
		stamp, err := record.ParseDevice(header(r, record.HeaderDevice))
		if err != nil || stamp.No != s.nos[device] {
			s.t.Errorf("a record of %s is stamped %+v, %v", device, stamp, err)
		}
		sender := uint32(0)
		if via := header(r, record.HeaderVia); via != nil {
			if sender, err = record.ParseVia(via); err != nil {
				s.t.Error(err)
			}
		}
		records, senders = append(records, r), append(senders, sender)
	}
	return records, senders
}

func TestAnAgentSpeaksForItsDevicesAndTheLogSaysSo(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := hall(t, nil)
		c := s.keeping(s.ca.Device("edge"), http2)
		for i := range 6 { // on one connection, whose requests begin alike from the second on
			for _, id := range []string{"boiler-2", "boiler-3"} {
				body := message(1, i, "")
				for range 2 {
					if r := s.post(c, "/v1/telemetry/"+id, typeJSON, body); r.Code != http.StatusOK || r.Values != 2 {
						t.Fatalf("%d %s", r.Code, r.Raw)
					}
				}
			}
			if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != http.StatusOK {
				t.Fatal(r.Raw)
			}
			if r := s.post(c, "/v1/telemetry/edge", typeJSON, message(2, i, `,"device":"edge"`)); r.Code != http.StatusOK {
				t.Fatal(r.Raw)
			}
		}
		beat := fmt.Appendf(nil, `{"boot":1,"seq":1,"events":[{"ts":%d,"type":"heartbeat"}]}`, time.Now().UnixMilli())
		if r := s.post(c, "/v1/events/boiler-4", typeJSON, beat); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
		for device, want := range map[string]int{"boiler-2": 6, "boiler-3": 6, "edge": 12} {
			records, senders := s.of(record.TopicTelemetry, device)
			if len(records) != want {
				t.Errorf("%d records of %s", len(records), device)
			}
			for _, sender := range senders {
				if own := device == "edge"; own == (sender == 1) || !own && sender != 1 {
					t.Errorf("a record of %s was sent by %d", device, sender)
				}
			}
		}
		if records, senders := s.of(record.TopicEvents, "boiler-4"); len(records) != 1 || senders[0] != 1 {
			t.Errorf("%d events, sent by %v", len(records), senders)
		}
		if fields, _ := s.signs(); len(fields) != 0 { // its devices are where it is, and speak themselves elsewhere
			t.Errorf("%v", fields)
		}
		if got := s.answered("duplicate"); got != 12 {
			t.Errorf("%v duplicates", got)
		}
		s.balanced()
	}
}

func TestAnAgentIsRefusedForAnyOtherWhetherThereIsOneOrNot(t *testing.T) {
	s := hall(t, nil)
	c := s.kept(s.ca.Device("edge"))
	said := map[string]bool{}
	for i, other := range []string{"stranger", "nobody", "BOILER-2", "boiler-2%20", "..."} {
		for _, path := range []string{"/v1/telemetry/", "/v1/events/"} {
			r := s.post(c, path+other, typeJSON, message(1, i, ""))
			if r.Code != http.StatusForbidden || r.Reason != "device-mismatch" || r.Field != "device" || r.Close {
				t.Errorf("%s%s: %d %s", path, other, r.Code, r.Raw)
			}
			said[r.Raw] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("what is said tells those that there are from others: %v", said)
	}
	for _, path := range []string{"/v1/telemetry/", "/v1/telemetry/boiler-2/", "/v1/telemetry/boiler-2/x", "/v1/events/"} {
		if r := s.post(c, path, typeJSON, message(1, 1, "")); r.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, r.Code, r.Raw)
		}
	}
	for _, written := range []string{`,"device":"boiler-3"`, `,"devic\u0065":"boiler-3"`, `,"\u0064evice":"boiler\u002d3"`} {
		if r := s.post(c, "/v1/telemetry/boiler-2", typeJSON, message(1, 1, written)); r.Code != http.StatusForbidden || r.Reason != "device-mismatch" {
			t.Errorf("a body of another device, %s: %d %s", written, r.Code, r.Raw)
		}
	}
	// One who was granted nothing is refused for all but itself.
	d := s.device("boiler-2")
	for _, other := range []string{"boiler-3", "edge", "nobody"} {
		if r := s.post(d, "/v1/telemetry/"+other, typeJSON, message(1, 1, "")); r.Code != http.StatusForbidden || r.Reason != "device-mismatch" {
			t.Errorf("%s: %d %s", other, r.Code, r.Raw)
		}
	}
	if r := s.post(d, "/v1/telemetry/boiler-2", typeJSON, message(1, 1, "")); r.Code != http.StatusOK {
		t.Error(r.Raw)
	}
	s.eventually("auditors are told", func() bool { return s.written(sign.OtherName, "written") >= 1 })
	for _, rec := range s.records(record.TopicTelemetry) {
		if string(rec.Key) != "boiler-2" {
			t.Errorf("stored for %s", rec.Key)
		}
	}
	s.balanced()
}

func TestWhatTheRegistrySaysOfAnAgentHoldsAtOnce(t *testing.T) {
	s := hall(t, nil)
	edge := s.ca.Device("edge")
	c, seq := s.kept(edge), 0
	ask := func(device string) reply {
		seq++
		return s.post(c, "/v1/telemetry/"+device, typeJSON, message(1, seq, ""))
	}
	for _, id := range []string{"boiler-2", "boiler-3"} {
		for range 2 { // the second has a head that is known
			if r := ask(id); r.Code != http.StatusOK {
				t.Fatal(r.Raw)
			}
		}
	}
	for name, tc := range map[string]struct {
		said, unsaid  event.Body
		device, other string
		reason        string
	}{
		"the device is held off":    {event.DeviceQuarantined{No: 2, On: true}, event.DeviceQuarantined{No: 2}, "boiler-2", "boiler-3", "quarantined"},
		"its cohort is held off":    {event.CohortQuarantined{Cohort: "hall", On: true}, event.CohortQuarantined{Cohort: "hall"}, "boiler-3", "boiler-2", "quarantined"},
		"it leaves the cohort":      {event.DeviceMoved{No: 3, Cohort: "yard"}, event.DeviceMoved{No: 3, Cohort: "hall"}, "boiler-3", "boiler-4", "device-mismatch"},
		"the grant becomes another": {event.ActingGranted{Agent: 1, Cohort: "hall"}, event.ActingGranted{Agent: 1, Devices: []uint32{2}, Cohort: "hall"}, "boiler-2", "boiler-4", "device-mismatch"},
		"the agent is held off":     {event.DeviceQuarantined{No: 1, On: true}, event.DeviceQuarantined{No: 1}, "boiler-2", "", "quarantined"},
	} {
		s.said(tc.said)
		if r := ask(tc.device); r.Code != http.StatusForbidden || r.Reason != tc.reason || r.Close {
			t.Errorf("%s: %d %s", name, r.Code, r.Raw)
		}
		if tc.other != "" {
			if r := ask(tc.other); r.Code != http.StatusOK {
				t.Errorf("%s, and another device: %d %s", name, r.Code, r.Raw)
			}
		}
		s.said(tc.unsaid)
		if r := ask(tc.device); r.Code != http.StatusOK {
			t.Errorf("%s no more: %d %s", name, r.Code, r.Raw)
		}
	}
	s.said(event.DeviceRevoked{No: 2})
	if r := ask("boiler-2"); r.Code != http.StatusForbidden || r.Reason != "revoked" || r.Close {
		t.Errorf("a revoked device: %d %s", r.Code, r.Raw)
	}
	if r := ask("boiler-3"); r.Code != http.StatusOK {
		t.Errorf("its neighbour: %d %s", r.Code, r.Raw)
	}
	s.said(event.ActingWithdrawn{Agent: 1})
	if r := ask("boiler-3"); r.Code != http.StatusForbidden || r.Reason != "device-mismatch" {
		t.Errorf("after it was withdrawn: %d %s", r.Code, r.Raw)
	}
	s.balanced()
}

func TestAMessageThatBeganBeforeItsAgentLostTheRightIsRefusedToo(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := hall(t, nil)
		r := s.halfway(s.client(s.ca.Device("edge"), http2), "/v1/telemetry/boiler-3", func() { s.said(event.ActingWithdrawn{Agent: 1}) })
		if r.Code != http.StatusForbidden || r.Reason != "device-mismatch" {
			t.Errorf("%s: %d %s", r.Proto, r.Code, r.Raw)
		}
		s.balanced()
	}
}

// Who speaks for many pays for all of them, and each of them for itself.
func TestAnAgentAndItsDevicesHaveRatesOfTheirOwn(t *testing.T) {
	s := hall(t, func(c *gateway.Config) {
		l := &c.Limits
		l.DeviceMessages, l.DeviceMessagesBurst, l.AgentFactor = 1e-6, 2, 2 // four of an agent's, and no more while the test runs
	})
	c := s.device("edge")
	post := func(path string, seq int) reply { return s.post(c, path, typeJSON, message(1, seq, "")) }
	for seq := range 2 {
		if r := post("/v1/telemetry/boiler-2", seq); r.Code != http.StatusOK {
			t.Fatal(r.Raw)
		}
	}
	if r := post("/v1/telemetry/boiler-2", 2); r.Code != http.StatusTooManyRequests || r.Reason != "device-rate" {
		t.Errorf("one that was spoken for too often: %d %s", r.Code, r.Raw)
	}
	if r := s.post(s.device("boiler-2"), "/v1/telemetry", typeJSON, message(1, 9, "")); r.Code != http.StatusTooManyRequests {
		t.Errorf("and speaks itself: %d %s", r.Code, r.Raw)
	}
	if r := post("/v1/telemetry/boiler-3", 1); r.Code != http.StatusOK {
		t.Errorf("its neighbour: %d %s", r.Code, r.Raw)
	}
	if r := post("/v1/telemetry/boiler-4", 1); r.Code != http.StatusTooManyRequests {
		t.Errorf("the agent spoke too often: %d %s", r.Code, r.Raw)
	}
	if r := s.post(s.device("boiler-4"), "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != http.StatusOK {
		t.Errorf("which its device does not pay for: %d %s", r.Code, r.Raw)
	}
	s.balanced()
}

func TestAnAgentSpeaksForItsDevicesByMQTT(t *testing.T) {
	s := hall(t, nil)
	p := s.mqtt("edge")
	ts := time.Now().UnixMilli()
	for i, m := range []publisher.Message{
		{Topic: "telemetry/boiler-2", Payload: message(1, 0, "")},
		{Topic: "t//boiler-2", Payload: message(1, 1, "")},
		{Topic: "t/default/boiler-3", Payload: message(1, 2, "")},
		{Topic: "v1/boiler-2/telemetry", Payload: fmt.Appendf(nil, `{"fields":{"temp_c":21.5},"name":"env","tags":{"device_id":"boiler-2","host":"gw"},"timestamp":%d}`, ts)},
		{Topic: "v1/boiler-2/telemetry", Payload: fmt.Appendf(nil, `{"metrics":[{"fields":{"temp_c":22.5},"name":"env","tags":{"host":"gw"},"timestamp":%d},{"fields":{"rh":40},"name":"env","tags":{"host":"gw"},"timestamp":%d}]}`, ts, ts+1)},
		{Topic: "telemetry/boiler-2", Payload: fmt.Appendf(nil, "env,host=gw temp_c=23.5,rh=41i %d\n", ts*1e6)},
		{Topic: "telemetry/boiler-2", Payload: fmt.Appendf(nil, "env,host=gw temp_c=23.5,rh=41i %d\n", ts*1e6)}, // again: no answer was heard
		{Topic: "telemetry/edge", Payload: message(1, 3, "")},
		{Topic: "events/boiler-4", Payload: fmt.Appendf(nil, `{"boot":1,"seq":1,"events":[{"ts":%d,"type":"heartbeat"}]}`, ts)},
	} {
		m.QoS = 1
		if err := s.publish(p, m); err != nil {
			t.Fatalf("message %d, to %s: %v", i, m.Topic, err)
		}
	}
	records, senders := s.of(record.TopicTelemetry, "boiler-2")
	if len(records) != 5 {
		t.Errorf("%d records of boiler-2", len(records))
	}
	for _, sender := range senders {
		if sender != 1 {
			t.Errorf("sent by %d", sender)
		}
	}
	said := map[string]bool{}
	for _, other := range []string{"stranger", "nobody"} {
		reason, text, ended := refused(s.publish(p, publisher.Message{Topic: "telemetry/" + other, QoS: 1, Payload: message(1, 9, "")}))
		if reason != packet.NotAuthorized || ended {
			t.Errorf("%s: %v %q %v", other, reason, text, ended)
		}
		said[text] = true
	}
	if len(said) != 1 {
		t.Errorf("%v", said)
	}
	// What is wrong with one of its devices ends no connection.
	s.said(event.DeviceRevoked{No: 3})
	if reason, text, ended := refused(s.publish(p, publisher.Message{Topic: "telemetry/boiler-3", QoS: 1, Payload: message(1, 10, "")})); reason != packet.NotAuthorized || ended || !strings.Contains(text, "revoked") {
		t.Errorf("a revoked device: %v %q %v", reason, text, ended)
	}
	s.stores(p, publisher.Message{Topic: "telemetry/boiler-4", QoS: 1, Payload: message(1, 11, "")})
	s.balanced()
}
