package gateway_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
)

// hold keeps produce requests from being answered until the returned function is called.
func (s *site) hold() (release func()) {
	s.t.Helper()
	wait := make(chan struct{})
	once := sync.OnceFunc(func() { close(wait) })
	s.t.Cleanup(once)
	cluster := s.broker.Cluster()
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		select {
		case <-wait:
			return nil, nil, false
		default:
		}
		cluster.SleepControl(func() { <-wait })
		return nil, nil, false
	})
	return once
}

// patient is a gateway that waits for its log as long as a test of a held log takes.
func patient(c *gateway.Config) { c.AckTimeout, c.StallAfter = patience, patience }

// answeredWithin is the promise for a log that does not answer. The least of several is held to it: the others may have waited
// for the machine.
const answeredWithin = 8 * time.Second

// swallow takes produce requests and never answers.
func (s *site) swallow() (swallowed *atomic.Int64) {
	swallowed = new(atomic.Int64)
	cluster := s.broker.Cluster()
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		swallowed.Add(1)
		return nil, nil, true
	})
	return swallowed
}

func TestALogThatTakesAndNeverAnswersIsAnUnknownOutcomeInTime(t *testing.T) {
	s := open(t, func(c *gateway.Config) {
		c.AckTimeout, c.StallAfter, c.DrainTimeout = 500*time.Millisecond, 2*time.Second, 300*time.Millisecond
	}, "boiler-1", "boiler-2")
	s.swallow()
	c := s.device("boiler-1")
	first := message(1, 1, "")
	began := time.Now()
	// Nothing but its own clock ends the wait for this log, and the answer says which.
	if r := s.post(c, "/v1/telemetry", typeJSON, first); r.Code != 503 || r.Reason != "log-silent" || r.Outcome != "unknown" || !strings.Contains(r.Detail, "within 500ms") {
		t.Fatalf("%d %s", r.Code, r.Raw)
	}
	took, again := time.Since(began), time.Now()
	if r := s.post(c, "/v1/telemetry", typeJSON, first); r.Code != 503 || r.Duplicate {
		t.Errorf("its retry: %d %s", r.Code, r.Raw)
	}
	if took = min(took, time.Since(again)); took > answeredWithin {
		t.Errorf("answered after %v", took)
	}
	neighbour := s.device("boiler-2")
	s.eventually("requests are refused before they are read", func() bool {
		r := s.post(neighbour, "/v1/telemetry", typeJSON, message(1, 1, ""))
		return r.Code == 503 && r.Reason == "log-stalled"
	})
	if s.get("/readyz") != http.StatusServiceUnavailable || s.get("/livez") != http.StatusOK {
		t.Error("it is alive and not ready")
	}
	before, records := heap(), s.metric("muster_eventlog_buffered_records")
	for i := range 200 {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(2, i, "")); r.Code != 503 {
			t.Fatal(r.Raw)
		}
	}
	if after := heap(); after > before+4<<20 || s.metric("muster_eventlog_buffered_records") != records {
		t.Errorf("the heap grew from %d to %d, records from %v", before, after, records)
	}
	if err := s.stop(); err == nil {
		t.Error("a gateway whose log has not answered does not stop as if it had")
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestARetryOfAMessageOnItsWayWaitsForIt(t *testing.T) {
	s := open(t, patient, "boiler-1")
	release := s.hold()
	id := s.ca.Device("boiler-1")
	body := message(1, 1, "")
	replies := make(chan reply, 5)
	for range 5 {
		go func() {
			r, err := s.try(s.client(id, false), "/v1/telemetry", typeJSON, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
			}
			replies <- r
		}()
	}
	s.eventually("all of them wait, for the one that is on its way", func() bool {
		return s.metric("muster_gateway_requests_in_flight") == 5 && s.metric("muster_eventlog_buffered_records") == 1
	})
	if r := s.post(s.client(id, false), "/v1/telemetry", typeJSON, message(1, 1, `,"fw":"other"`)); r.Code != 409 {
		t.Errorf("another payload meanwhile: %d %s", r.Code, r.Raw)
	}
	release()
	duplicates := 0
	for range 5 {
		r := <-replies
		if r.Code != 200 || r.Values != 2 {
			t.Errorf("%d %s", r.Code, r.Raw)
		}
		if r.Duplicate {
			duplicates++
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 1 || duplicates != 4 {
		t.Errorf("%d records, %d duplicates", n, duplicates)
	}
	s.balanced()
}

func TestAProduceThatWasAppliedAndTimedOutIsThereOnce(t *testing.T) {
	s := open(t, patient, "boiler-1")
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		s.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: 3})
	}
	c := s.device("boiler-1")
	for i := range 20 {
		if r := s.post(c, "/v1/telemetry", typeJSON, message(1, i, "")); r.Code != 200 || r.Duplicate {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 20 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

func TestAClientThatHangsUpTakesNobodyWithIt(t *testing.T) {
	s := open(t, func(c *gateway.Config) { patient(c); c.Limits.ConnectionsPerDevice = 200 }, "steady", "flaky")
	release := s.hold()
	steady := s.ca.Device("steady")
	codes := make(chan int, 40)
	for i := range 40 {
		go func() {
			r, err := s.try(s.client(steady, i%2 == 0), "/v1/telemetry", typeJSON, bytes.NewReader(message(1, i, "")))
			if err != nil {
				t.Error(err)
			}
			codes <- r.Code
		}()
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	flaky := s.ca.Client(s.ca.Device("flaky"))
	whole := 0
	for i := range 40 {
		c, err := tls.Dial("tcp", s.gateway.Addr(), flaky)
		if err != nil {
			t.Fatal(err)
		}
		body := message(1, i, "")
		raw := request(fmt.Sprintf("Content-Length: %d", len(body)), body)
		n := len(raw)
		if i%2 == 1 {
			n = random.IntN(len(raw)) // hangs up within the message
		} else {
			whole++
		}
		if _, err := c.Write(raw[:n]); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			s.eventually("the message is on its way", func() bool { return s.metric("muster_gateway_requests_in_flight") >= float64(1) })
		}
		_ = c.Close()
	}
	s.eventually("the steady ones wait", func() bool { return s.metric("muster_gateway_requests_in_flight") >= 40 })
	release()
	for range 40 {
		if code := <-codes; code != 200 {
			t.Errorf("a neighbour of one who hung up: %d", code)
		}
	}
	s.balanced()
	if n := len(s.records(record.TopicTelemetry)); n < 40 || n > 40+whole {
		t.Errorf("%d records of 40 + at most %d", n, whole)
	}
}

func TestALogThatIsGoneIsWaitedForAndComesBack(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.AckTimeout, c.RosterMaxAge = time.Second, time.Hour }, "boiler-1")
	c := s.device("boiler-1")
	first := message(1, 0, "")
	s.eventually("the log is there", func() bool { return s.post(c, "/v1/telemetry", typeJSON, first).Code == 200 })
	cluster := s.broker.Cluster()
	var down atomic.Bool
	down.Store(true)
	cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if down.Load() {
			return nil, fmt.Errorf("the broker is down"), true // closes the connection
		}
		return nil, nil, false
	})
	unknown, took := message(1, 1, ""), patience
	for i := range 3 {
		began := time.Now()
		// As long as the log is gone nothing but its own clock ends a wait.
		if r := s.post(c, "/v1/telemetry", typeJSON, unknown); r.Code != 503 || r.Outcome != "unknown" || !strings.Contains(r.Detail, "within 1s") {
			t.Fatalf("try %d: %d %s", i, r.Code, r.Raw)
		}
		took = min(took, time.Since(began))
	}
	if took > answeredWithin {
		t.Errorf("answered after %v at least", took)
	}
	down.Store(false)
	s.eventually("it is stored once the log is back", func() bool { return s.post(c, "/v1/telemetry", typeJSON, unknown).Code == 200 })
	if n := len(s.records(record.TopicTelemetry)); n != 2 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

func TestAGatewayThatCannotSeeTheRegistryLetsNobodyIn(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.RosterMaxAge = 700 * time.Millisecond }, "boiler-1")
	c := s.device("boiler-1")
	s.eventually("it sees the registry", func() bool { return s.post(c, "/v1/telemetry", typeJSON, message(1, 0, "")).Code == 200 })
	cluster := s.broker.Cluster()
	cluster.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, fmt.Errorf("no answer"), true
	})
	s.eventually("nobody is let in", func() bool {
		r := s.post(c, "/v1/telemetry", typeJSON, message(1, 1, ""))
		return r.Code == 503 && r.Reason == "roster-stale" && s.get("/readyz") == http.StatusServiceUnavailable
	})
	s.balanced()
}

func TestWhatTheProducerCannotHoldIsNotStored(t *testing.T) {
	s := open(t, func(c *gateway.Config) {
		patient(c)
		c.Limits.BufferedRecords, c.Limits.ConnectionsPerDevice = 3, 50
	}, "boiler-1")
	release := s.hold()
	id := s.ca.Device("boiler-1")
	replies := make(chan reply, 10)
	for i := range 10 {
		go func() {
			r, err := s.try(s.client(id, false), "/v1/telemetry", typeJSON, bytes.NewReader(message(1, i, "")))
			if err != nil {
				t.Error(err)
			}
			replies <- r
		}()
	}
	shed := map[string]bool{}
	for range 7 {
		r := <-replies
		if r.Code != 429 || r.Reason != "log-full" || r.Outcome != "not stored" {
			t.Errorf("%d %s", r.Code, r.Raw)
		}
		shed[r.Raw] = true
	}
	release()
	for range 3 {
		if r := <-replies; r.Code != 200 {
			t.Errorf("%d %s", r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 3 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

func TestBytesAndRequestsInFlightAreBounded(t *testing.T) {
	s := open(t, func(c *gateway.Config) {
		patient(c)
		c.Limits.Body, c.Limits.BytesInFlight, c.Limits.Requests, c.Limits.ConnectionsPerDevice = 40_000, 100_000, 3, 50
	}, "boiler-1")
	release := s.hold()
	id := s.ca.Device("boiler-1")
	big := append(message(1, 0, ""), bytes.Repeat([]byte(" "), 38_000)...)
	replies := make(chan reply, 3)
	send := func(body []byte) {
		r, err := s.try(s.client(id, false), "/v1/telemetry", typeJSON, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
		}
		replies <- r
	}
	for i := range 2 {
		go send(append(message(1, i, ""), big[len(message(1, 0, "")):]...))
	}
	s.eventually("two are at work", func() bool { return s.metric("muster_gateway_bytes_in_flight") > 76_000 })
	if r := s.post(s.client(id, false), "/v1/telemetry", typeJSON, big); r.Code != 429 || r.Reason != "overloaded" || r.Limit != 100_000 {
		t.Errorf("bytes: %d %s", r.Code, r.Raw)
	}
	go send(message(1, 2, ""))
	s.eventually("three are at work", func() bool { return s.metric("muster_gateway_requests_in_flight") == 3 })
	if r := s.post(s.client(id, false), "/v1/telemetry", typeJSON, message(1, 3, "")); r.Code != 429 || r.Reason != "overloaded" || r.Limit != 3 {
		t.Errorf("requests: %d %s", r.Code, r.Raw)
	}
	release()
	for range 3 {
		if r := <-replies; r.Code != 200 {
			t.Errorf("%d %s", r.Code, r.Raw)
		}
	}
	s.balanced()
}

func TestANewGatewayTakesTheRetriesOfOneThatDied(t *testing.T) {
	s := open(t, nil, "boiler-1")
	body := message(1, 1, "")
	if r := s.post(s.device("boiler-1"), "/v1/telemetry", typeJSON, body); r.Code != 200 {
		t.Fatal(r.Raw)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.start(nil)
	if r := s.post(s.device("boiler-1"), "/v1/telemetry", typeJSON, body); r.Code != 200 || r.Duplicate {
		t.Errorf("%d %s: it cannot know", r.Code, r.Raw)
	}
	records := s.records(record.TopicTelemetry)
	if len(records) != 2 || !bytes.Equal(records[0].Value, records[1].Value) {
		t.Errorf("%d records: the sink tells duplicates by equal values", len(records))
	}
}
