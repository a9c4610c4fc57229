package gateway_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/mqtt/packet"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
)

// ends waits until the connection is over, and says how.
func (s *site) ends(p *publisher.Publisher) (packet.Reason, *publisher.Ended) {
	s.t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(patience):
		s.t.Fatal("the connection lives")
	}
	var e *publisher.Ended
	if !errors.As(p.Err(), &e) {
		s.t.Fatal(p.Err())
	}
	return e.Reason, e
}

// Row 20. Connections that say nothing are told by 5.0, and ended in both; as are some whose clients do not read.
func TestARevocationEndsLiveConnectionsOfMQTTInWords(t *testing.T) {
	const promised = 2 * time.Second
	n, full := 60, false
	if all, err := strconv.Atoi(os.Getenv(envRevoked)); err == nil && all > 0 {
		n, full = all, true
	}
	s := open(t, nil, "neighbour")
	name := func(i int) string { return "victim-" + strconv.Itoa(i) }
	for i := range n {
		s.enroll(event.DeviceEnrolled{Device: name(i), Cohort: "victims"})
	}
	s.eventually("the last is known", func() bool {
		p, err := s.mqttTry(s.ca.Device(name(n-1)), publisher.Options{})
		if err == nil {
			_ = p.Close()
		}
		return err == nil
	})
	s.eventually("nobody is connected", func() bool { return s.metric("muster_gateway_mqtt_connections") <= 1 })
	var all []*publisher.Publisher
	for i := range n {
		all = append(all, s.mqttAs(s.ca.Device(name(i)), publisher.Options{Version: versions[i%2], ClientID: name(i)}))
	}
	deaf, err := s.tlsTo(s.ca.Device(name(0)))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if _, err := deaf.Write((&packet.Connect{Version: packet.V5, CleanStart: true}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	finish := s.neighbour("neighbour")
	s.eventually("all are in", func() bool { return int(s.metric("muster_gateway_mqtt_connections")) == n+2 })

	s.declare(event.CohortRevoked{Cohort: "victims"})
	acknowledged := time.Now()
	var took []time.Duration
	var mu sync.Mutex
	var waiting sync.WaitGroup
	for i, p := range all {
		waiting.Go(func() {
			<-p.Ended()
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(acknowledged))
			reason, text, _ := refused(p.Err())
			if i%2 == 1 && (reason != packet.AdministrativeAction || !strings.Contains(text, "is revoked")) {
				t.Errorf("%s: %v", name(i), p.Err())
			}
		})
	}
	waiting.Wait()
	t.Logf("%d live connections, ended after %v (p99; at most %v)", n, p99(took), slices.Max(took))
	if full && p99(took) > promised {
		t.Errorf("promised are %v", promised)
	}
	if err := s.publish(all[0], telemetry(message(1, 0, ""))); err == nil {
		t.Error("a revoked device publishes")
	}
	if _, err := s.mqttTry(s.ca.Device(name(0)), publisher.Options{}); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("it knocks again: %v", err)
	}
	s.eventually("the deaf one is gone too", func() bool { return int(s.metric("muster_gateway_mqtt_connections")) == 1 })
	if ended := s.metric("muster_gateway_connections_ended_total", "reason", "device-revoked"); int(ended) != n+1 {
		t.Errorf("%v were ended, of %d", ended, n+1)
	}
	if told := s.metric("muster_gateway_mqtt_ends_total", "by", "server", "reason", "administrative action"); int(told) != n+1 {
		t.Errorf("%v ends are counted", told)
	}
	finish()
	if got := s.stored(record.TopicTelemetry, name(0)); got != 0 {
		t.Errorf("%d records", got)
	}
	s.balanced()
}

func TestQuarantineIsToldAtEachMessageAndTheConnectionStays(t *testing.T) {
	s := open(t, nil, "boiler-1")
	p := s.mqtt("boiler-1")
	s.stores(p, telemetry(message(1, 0, "")))
	seq := 0
	next := func() publisher.Message { // each has a key of its own: some are stored, and every one has another time in it
		seq++
		return telemetry(message(1, seq, ""))
	}
	s.declare(event.DeviceQuarantined{No: 1, On: true})
	s.eventually("it is told", func() bool {
		reason, text, ended := refused(s.publish(p, next()))
		if ended {
			t.Fatal(text)
		}
		return reason == packet.NotAuthorized && strings.Contains(text, "quarantine")
	})
	other := s.mqttAs(s.ca.Device("boiler-1"), publisher.Options{}) // a new connection is let in to be told so
	if reason, _, ended := refused(s.publish(other, next())); reason != packet.NotAuthorized || ended {
		t.Error(reason)
	}
	s.declare(event.DeviceQuarantined{No: 1, On: false})
	s.eventually("it is released", func() bool { return s.publish(p, next()) == nil })
	s.balanced()
}

func TestADeviceOfAnotherRegionIsToldWhereItBelongs(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Region = "eu" }, "boiler-1")
	p := s.mqtt("boiler-1")
	s.stores(p, telemetry(message(1, 0, "")))
	s.declare(event.RegionDefined{Region: "us", Gateway: "us.example:8883"})
	s.enroll(event.DeviceEnrolled{Device: "visitor", Region: "us"})
	var reason packet.Reason
	s.eventually("a new one is not let in", func() bool {
		_, err := s.mqttTry(s.ca.Device("visitor"), publisher.Options{})
		reason, _, _ = refused(err)
		return reason == packet.ServerMoved
	})
	s.enroll(event.DeviceEnrolled{Device: "boiler-1", Region: "us"})
	seq := 0
	s.eventually("a live one is sent away", func() bool {
		seq++
		_, _, ended := refused(s.publish(p, telemetry(message(1, seq, ""))))
		return ended
	})
	if reason, e := s.ends(p); reason != packet.ServerMoved || e.Reference != "us.example:8883" {
		t.Errorf("%v", e)
	}
	s.balanced()
}

// Row 29: a PUBACK of any kind would have the client forget the message.
func TestAMessageOfWhichNobodyKnowsGetsNoPuback(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			s := open(t, func(c *gateway.Config) {
				c.AckTimeout, c.StallAfter, c.DrainTimeout = 500*time.Millisecond, patience, 300*time.Millisecond
			}, "boiler-1", "neighbour")
			p := s.mqttAs(s.ca.Device("boiler-1"), publisher.Options{Version: v, ClientID: "boiler-1"})
			answers := make(chan error, 3)
			s.swallow()
			for i := range 3 {
				if err := p.Send(t.Context(), telemetry(message(1, i, "")), func(err error) { answers <- err }); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				if reason, _, ended := refused(<-answers); !ended || v == packet.V5 && reason != packet.ServerBusy {
					t.Errorf("%v, ended %v", reason, ended)
				}
			}
			s.eventually("each is counted when its time is up", func() bool { return s.answered("log-silent") == 3 })
			s.eventually("nothing is at work", func() bool { return s.metric("muster_gateway_requests_in_flight") == 0 })
			if n := s.answered("stored"); n != 0 {
				t.Errorf("%v stored", n)
			}
			_ = s.stop() // its log has not answered
		})
	}
}

func TestALogThatComesBackWithinItsTimeIsWaitedForByMQTT(t *testing.T) {
	s := open(t, patient, "boiler-1")
	p := s.mqtt("boiler-1")
	release := s.hold()
	answers := make(chan error, 3)
	body := message(1, 1, "")
	for range 2 { // the second is the first once more, and joins it
		if err := p.Send(t.Context(), telemetry(body), func(err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	web := make(chan reply, 1)
	go func() { // by HTTPS too
		r, err := s.try(s.device("boiler-1"), "/v1/telemetry", typeJSON, strings.NewReader(string(body)))
		if err != nil {
			t.Error(err)
		}
		web <- r
	}()
	s.eventually("all of them wait, for the one that is on its way", func() bool {
		return s.metric("muster_gateway_requests_in_flight") == 3 && s.metric("muster_eventlog_buffered_records") == 1
	})
	release()
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if r := <-web; r.Code != 200 {
		t.Error(r.Raw)
	}
	if n := s.stored(record.TopicTelemetry, "boiler-1"); n != 1 || s.answered("duplicate") != 2 {
		t.Errorf("%d records, %v duplicates", n, s.answered("duplicate"))
	}
	s.balanced()
}

func TestAClientThatHangsUpKeepsWhatIsOnItsWay(t *testing.T) {
	s := open(t, patient, "flaky", "steady")
	release := s.hold()
	steady := s.mqtt("steady")
	answer := make(chan error, 1)
	if err := steady.Send(t.Context(), telemetry(message(1, 0, "")), func(err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		p := s.mqttAs(s.ca.Device("flaky"), publisher.Options{})
		if err := p.Send(t.Context(), telemetry(message(1, i, "")), func(error) {}); err != nil {
			t.Fatal(err)
		}
		s.eventually("it is on its way", func() bool { return s.metric("muster_gateway_requests_in_flight") == float64(i+2) })
		_ = p.Close()
	}
	release()
	if err := <-answer; err != nil {
		t.Errorf("a neighbour of one who hung up: %v", err)
	}
	s.balanced()
	if n := s.stored(record.TopicTelemetry, "flaky"); n != 20 {
		t.Errorf("%d records", n)
	}
}

func TestAGatewayThatCannotSeeTheRegistryLetsNobodyInByMQTT(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.RosterMaxAge = 2 * time.Second }, "boiler-1")
	var p *publisher.Publisher
	s.eventually("it sees the registry", func() bool {
		var err error
		p, err = s.mqttTry(s.ca.Device("boiler-1"), publisher.Options{})
		return err == nil
	})
	cluster := s.broker.Cluster()
	cluster.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, fmt.Errorf("no answer"), true
	})
	s.eventually("nobody is let in", func() bool {
		p, err := s.mqttTry(s.ca.Device("boiler-1"), publisher.Options{})
		if err == nil {
			_ = p.Close()
		}
		reason, _, _ := refused(err)
		return reason == packet.ServerUnavailable
	})
	seq := 0
	s.eventually("who is in keeps its message", func() bool {
		seq++
		_, _, ended := refused(s.publish(p, telemetry(message(1, seq, ""))))
		return ended
	})
	if reason, e := s.ends(p); reason != packet.ServerBusy {
		t.Error(e)
	}
	s.balanced()
}

func TestAGatewayThatStopsAnswersWhatItHasAndSaysSo(t *testing.T) {
	s := open(t, patient, "boiler-1")
	p := s.mqtt("boiler-1")
	release := s.hold()
	answer := make(chan error, 1)
	if err := p.Send(t.Context(), telemetry(message(1, 0, "")), func(err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	s.eventually("it is on its way", func() bool { return s.metric("muster_gateway_requests_in_flight") == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	s.eventually("nobody comes in any more", func() bool {
		c, err := net.DialTimeout("tcp", s.gateway.MQTTAddr(), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	release()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if reason, e := s.ends(p); reason != packet.ServerShuttingDown {
		t.Error(e)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestADeviceSpeaksUnderItsOwnIdentifierOnce(t *testing.T) {
	s := open(t, nil, "boiler-1", "boiler-2")
	id := s.ca.Device("boiler-1")
	for _, v := range versions {
		for _, other := range []string{"boiler-2", "boiler", "boiler-1x", "boiler-1~", "BOILER-1"} {
			_, err := s.mqttTry(id, publisher.Options{Version: v, ClientID: other})
			if reason, _, _ := refused(err); reason != packet.BadClientID {
				t.Errorf("%q: %v", other, err)
			}
		}
	}
	first := s.mqttAs(id, publisher.Options{ClientID: "boiler-1", User: "anybody", Password: []byte("anything")}) // the certificate counts alone
	second := s.mqttAs(id, publisher.Options{ClientID: "boiler-1"})
	if reason, e := s.ends(first); reason != packet.SessionTakenOver {
		t.Error(e)
	}
	// Without one, a client gets one of its own, and may come again under it.
	third, fourth := s.mqttAs(id, publisher.Options{}), s.mqttAs(id, publisher.Options{})
	a, b := third.Hello().AssignedID, fourth.Hello().AssignedID
	if a == b || !strings.HasPrefix(a, "boiler-1~") {
		t.Errorf("%q and %q are assigned", a, b)
	}
	_ = third.Close()
	fifth := s.mqttAs(id, publisher.Options{ClientID: a})
	for i, p := range []*publisher.Publisher{second, fourth, fifth} {
		s.stores(p, telemetry(message(1, i, "")))
	}
	s.balanced()
}

func TestADevicesConnectionsAreCountedOverBothDoors(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Limits.ConnectionsPerDevice = 2 }, "boiler-1")
	id := s.ca.Device("boiler-1")
	if r := s.post(s.kept(id), "/v1/telemetry", typeJSON, message(1, 0, "")); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	p := s.mqttAs(id, publisher.Options{})
	_, err := s.mqttTry(id, publisher.Options{})
	if reason, text, _ := refused(err); reason != packet.QuotaExceeded || !strings.Contains(text, "2 connections") {
		t.Error(err)
	}
	if r := s.post(s.kept(id), "/v1/telemetry", typeJSON, message(1, 1, "")); r.Code != 429 || r.Reason != "device-connections" {
		t.Error(r.Raw)
	}
	s.stores(p, telemetry(message(1, 2, "")))
	s.balanced()
}

func TestSignsOfAClonedIdentityAreSeenOverBothDoors(t *testing.T) {
	s := open(t, nil, "boiler-1")
	one, two := s.ca.Device("boiler-1"), s.ca.Device("boiler-1")
	web, p := s.kept(one), s.mqttAs(two, publisher.Options{})
	for i := range 3 {
		if r := s.post(web, "/v1/telemetry", typeJSON, message(1, 2*i, "")); r.Code != 200 {
			t.Fatal(r.Raw)
		}
		s.stores(p, telemetry(message(1, 2*i+1, "")))
	}
	s.eventually("it is written", func() bool { return s.written("two-certificates", "written") == 1 })
	s.balanced()
}
