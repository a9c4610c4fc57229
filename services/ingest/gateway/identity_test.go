package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

func TestWithoutAGoodCertificateNotOneByteOfHTTPIsRead(t *testing.T) {
	s := open(t, nil, "boiler-1")
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	name := []*url.URL{gatewaytest.URI(t, "spiffe://"+gatewaytest.TrustDomain+"/device/boiler-1")}
	issue := func(ca *gatewaytest.Authority, label string, more x509.Certificate) *tls.Config {
		if more.URIs == nil && more.Subject.SerialNumber == "" {
			more.URIs = name
		}
		more.ExtKeyUsage = client
		return s.ca.Client(ca.Issue(label, &more))
	}
	none := s.ca.Client(s.ca.Device("boiler-1"))
	none.Certificates = nil
	manufacturer := gatewaytest.NewAuthority(t)
	for label, cfg := range map[string]*tls.Config{
		"no certificate":                  none,
		"another authority's":             issue(gatewaytest.NewAuthority(t), "wrong", x509.Certificate{}),
		"expired":                         issue(s.ca, "expired", x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute)}),
		"not yet valid":                   issue(s.ca, "early", x509.Certificate{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}),
		"a manufacturer's":                issue(manufacturer, "idevid", x509.Certificate{Subject: pkix.Name{CommonName: "boiler-1", SerialNumber: "SN-0001"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}),
		"a manufacturer's with our names": issue(manufacturer, "idevid-named", x509.Certificate{}),
	} {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: time.Minute}
		_, err := s.try(c, "/v1/telemetry", typeJSON, bytes.NewReader(message(1, 1, "")))
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v", label, err)
		}
	}
	if n := s.metric("muster_gateway_received_total"); n != 0 || s.metric("muster_gateway_connections_accepted_total") != 0 {
		t.Errorf("%v requests were read", n)
	}
	s.eventually("each is counted", func() bool { return s.metric("muster_gateway_handshake_errors_total", "class", "certificate") == 6 })
	if n := len(s.records(record.TopicTelemetry)); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestANameThatIsNotExactlyADevicesIsRefusedInWords(t *testing.T) {
	s := open(t, nil, "boiler-1", "boiler-2")
	base := "spiffe://" + gatewaytest.TrustDomain + "/device/"
	uris := func(all ...string) x509.Certificate {
		var c x509.Certificate
		for _, u := range all {
			c.URIs = append(c.URIs, gatewaytest.URI(t, u))
		}
		return c
	}
	for label, cert := range map[string]x509.Certificate{
		"two-names":    uris(base+"boiler-1", base+"boiler-2"),
		"one-twice":    uris(base+"boiler-1", base+"boiler-1"),
		"no-name":      {},
		"cn-only":      {Subject: pkix.Name{CommonName: "boiler-1"}},
		"dns-only":     {DNSNames: []string{"boiler-1"}},
		"up":           uris(base + "x/../boiler-1"),
		"escaped":      uris(base + "boiler%2d1"),
		"slash":        uris(base + "boiler%2f1"),
		"upper-case":   uris(base + "Boiler-1"),
		"upper-scheme": uris("SPIFFE://" + gatewaytest.TrustDomain + "/device/Boiler-1"),
		"query":        uris(base + "boiler-1?x=1"),
		"fragment":     uris(base + "boiler-1#x"),
		"user":         uris("spiffe://boiler-2@" + gatewaytest.TrustDomain + "/device/boiler-1"),
		"port":         uris("spiffe://" + gatewaytest.TrustDomain + ":443/device/boiler-1"),
		"other-fleet":  uris("spiffe://other.test/device/boiler-1"),
		"other-path":   uris("spiffe://" + gatewaytest.TrustDomain + "/service/boiler-1"),
		"trailing":     uris(base + "boiler-1/"),
	} {
		cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		r := s.post(s.client(s.ca.Issue(label, &cert), false), "/v1/telemetry", typeJSON, message(1, 1, ""))
		if r.Code != http.StatusForbidden || r.Reason != "bad-identity" || !r.Close || r.Outcome != "refused" {
			t.Errorf("%s: %d %s", label, r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 0 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}

// codeOf is what a device hears of a route that names another one.
func codeOf(route string) int {
	if strings.HasPrefix(route, "/v1/devices/") {
		return http.StatusNotFound
	}
	return http.StatusForbidden
}

func TestNoRouteTellsWhetherAnotherDeviceIsThere(t *testing.T) {
	s := open(t, nil, "boiler-1", "boiler-2")
	for _, who := range []string{"boiler-1", "stranger"} {
		c := s.device(who)
		for _, route := range []string{"/v1/telemetry/%", "/v1/devices/%", "/v1/devices/%/telemetry", "/v1/events/%", "/v1/telemetry?device=%"} {
			said := map[string]bool{}
			for _, other := range []string{"boiler-2", "boiler-9"} { // one is enrolled
				r := s.post(c, strings.Replace(route, "%", other, 1), typeJSON, message(1, 1, ""))
				if strings.HasPrefix(route, "/v1/telemetry?") {
					r.Raw = "" // the query says nothing: it is the device's own message
				} else if want := codeOf(route); r.Code != want {
					t.Errorf("%s asks %s of %s: %d %s", who, route, other, r.Code, r.Raw)
				}
				said[strings.ReplaceAll(r.Raw, other, "%")] = true
			}
			if len(said) != 1 {
				t.Errorf("%s asks %s and is told %v", who, route, said)
			}
		}
	}
	for _, rec := range s.records(record.TopicTelemetry) {
		if string(rec.Key) != "boiler-1" {
			t.Errorf("stored for %s", rec.Key)
		}
	}
	s.balanced()
}

// halfway posts a message and lets something happen between the beginning of its body and the rest.
func (s *site) halfway(c *http.Client, path string, happens func()) reply {
	s.t.Helper()
	body, rest := io.Pipe()
	whole := message(1, 1, "")
	answer := make(chan reply, 1)
	go func() {
		r, err := s.try(c, path, typeJSON, body)
		if err != nil {
			s.t.Error(err)
		}
		answer <- r
	}()
	if _, err := rest.Write(whole[:10]); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("it is taken in, and its body read", func() bool { return s.metric("muster_gateway_requests_in_flight") == 1 })
	happens()
	if _, err := rest.Write(whole[10:]); err != nil {
		s.t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		s.t.Fatal(err)
	}
	return <-answer
}

func TestAMessageThatBeganBeforeTheQuarantineIsRefusedToo(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := open(t, nil, "boiler-1")
		id := s.ca.Device("boiler-1")
		slow, other := s.client(id, http2), s.client(id, http2)
		r := s.halfway(slow, "/v1/telemetry", func() {
			s.post(other, "/v1/telemetry", typeJSON, message(1, 2, ""))
			s.declare(event.DeviceQuarantined{No: 1, On: true})
			s.eventually("it is held off", func() bool {
				return s.post(other, "/v1/telemetry", typeJSON, message(2, 1, "")).Code == http.StatusForbidden
			})
		})
		if r.Code != http.StatusForbidden || r.Reason != "quarantined" {
			t.Errorf("%s: %d %s", r.Proto, r.Code, r.Raw)
		}
		s.balanced()
	}
}

func TestADeviceInQuarantineIsToldAndIsTakenAgainOnTheSameConnection(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := open(t, nil, "boiler-1")
		c := s.keeping(s.ca.Device("boiler-1"), http2)
		for seq := range 3 { // the fast path is asked too
			if r := s.post(c, "/v1/telemetry", typeJSON, message(1, seq, "")); r.Code != http.StatusOK {
				t.Fatal(r.Raw)
			}
		}
		for i, hold := range []event.Body{event.DeviceQuarantined{No: 1, On: true}, event.CohortQuarantined{Cohort: "test", On: true}} {
			s.declare(hold)
			var r reply
			seq := 0
			s.eventually("it is held off", func() bool {
				seq++
				r = s.post(c, "/v1/telemetry", typeJSON, message(2+i, seq, ""))
				return r.Code != http.StatusOK
			})
			if r.Code != http.StatusForbidden || r.Reason != "quarantined" || r.Close || !strings.Contains(r.Detail, "operator has isolated it") {
				t.Errorf("%d %s", r.Code, r.Raw)
			}
			switch i {
			case 0:
				s.declare(event.DeviceQuarantined{No: 1, On: false})
			case 1:
				s.declare(event.CohortQuarantined{Cohort: "test", On: false})
			}
			s.eventually("it is taken again", func() bool {
				return s.post(c, "/v1/telemetry", typeJSON, message(4+i, 1, "")).Code == http.StatusOK
			})
		}
		if n := s.metric("muster_gateway_connections_accepted_total"); n != 1 {
			t.Errorf("it took %v connections", n)
		}
		s.balanced()
	}
}

func TestADeviceOfAnotherRegionIsSentThere(t *testing.T) {
	s := open(t, func(c *gateway.Config) { c.Region = "eu-west" })
	s.declare(event.RegionDefined{Region: "us-east", Gateway: "gateway.us.example:8443"})
	s.declare(event.CohortDefined{Cohort: "americans", Region: "us-east"})
	s.enroll(event.DeviceEnrolled{Device: "anywhere"})
	s.enroll(event.DeviceEnrolled{Device: "at-home", Region: "eu-west"})
	s.enroll(event.DeviceEnrolled{Device: "by-itself", Region: "us-east"})
	s.enroll(event.DeviceEnrolled{Device: "by-cohort", Cohort: "americans"})
	s.enroll(event.DeviceEnrolled{Device: "own-first", Cohort: "americans", Region: "eu-west"})
	s.enroll(event.DeviceEnrolled{Device: "nowhere", Region: "atlantis"})
	s.enroll(event.DeviceEnrolled{Device: "last"})
	s.eventually("all are known", func() bool {
		return s.post(s.device("last"), "/v1/telemetry", typeJSON, message(1, 1, "")).Code == http.StatusOK
	})
	for device, gateway := range map[string]string{"anywhere": "", "at-home": "", "own-first": "", "by-itself": "gateway.us.example:8443", "by-cohort": "gateway.us.example:8443", "nowhere": "-"} {
		r := s.post(s.device(device), "/v1/telemetry", typeJSON, message(1, 1, ""))
		if gateway == "" {
			if r.Code != http.StatusOK {
				t.Errorf("%s: %d %s", device, r.Code, r.Raw)
			}
			continue
		}
		region := "us-east"
		if device == "nowhere" {
			region, gateway = "atlantis", ""
		}
		if r.Code != http.StatusForbidden || r.Reason != "other-region" || r.Region != region || r.Gateway != gateway || !r.Close ||
			!strings.Contains(r.Detail, region) || !strings.Contains(r.Detail, gateway) || !strings.Contains(r.Detail, "eu-west") {
			t.Errorf("%s: %d %s", device, r.Code, r.Raw)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	if n := s.answered("other-region"); n != 3 {
		t.Errorf("%v are counted", n)
	}
	// A device that moves is told at its next message, on the connection that it has.
	c := s.dial("anywhere")
	ask := func(seq int) string {
		body, p := message(2, seq, ""), make([]byte, 4096)
		if _, err := c.Write(request("Content-Length: "+strconv.Itoa(len(body)), body)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		return string(p[:n])
	}
	for seq := range 3 {
		if got := ask(seq); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatal(got)
		}
	}
	s.declare(event.DeviceMoved{No: s.nos["anywhere"], Cohort: "americans"})
	seq := 2
	var got string
	s.eventually("it is sent there", func() bool { seq++; got = ask(seq); return !strings.HasPrefix(got, "HTTP/1.1 200") })
	if !strings.HasPrefix(got, "HTTP/1.1 403") || !strings.Contains(got, `"reason":"other-region"`) || !strings.Contains(got, "Connection: close") {
		t.Error(got)
	}
	s.balanced()
}

func TestACertificateThatIsTooNewToBeKnownIsNotRefusedForGood(t *testing.T) {
	s := open(t, nil, "boiler-1")
	known := s.ca.Issue("known", &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	key := sha256.Sum256(known.TLS.Leaf.RawSubjectPublicKeyInfo)
	s.enroll(event.DeviceEnrolled{Device: "renewed", Serial: known.TLS.Leaf.SerialNumber.Text(16), SPKI: key[:]})
	s.issue("renewed", known, "0123456789abcdef0123456789abcdef")
	s.enroll(event.DeviceEnrolled{Device: "last"})
	s.eventually("all are known", func() bool {
		return s.post(s.device("last"), "/v1/telemetry", typeJSON, message(1, 1, "")).Code == http.StatusOK
	})
	fresh := s.ca.Device("renewed")
	c := s.client(fresh, false)
	sent := 0
	s.eventually("what was never written down is refused once that is certain", func() bool {
		sent++
		r := s.post(c, "/v1/telemetry", typeJSON, message(1, sent, ""))
		if r.Code != http.StatusServiceUnavailable && r.Code != http.StatusForbidden {
			t.Fatalf("%d %s", r.Code, r.Raw)
		}
		return r.Code == http.StatusForbidden && r.Reason == "superseded" && r.Close
	})
	s.issue("renewed", fresh, "0123456789abcdef0123456789abcdef")
	s.eventually("it is taken", func() bool {
		return s.post(c, "/v1/telemetry", typeJSON, message(2, 1, "")).Code == http.StatusOK
	})
	s.balanced()
}
