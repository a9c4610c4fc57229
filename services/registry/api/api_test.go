package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/daemon"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

func TestADeviceEnrolsAndIsKnown(t *testing.T) {
	s := start(t)
	dir := filepath.Join(t.TempDir(), "pump-1")
	request := v1.Enrolment{Device: "pump-1", Cohort: "north", History: true, Class: "audit", Profile: "pump"}
	out, err := client.Enroll(t.Context(), s.base, token, request, dir)
	if err != nil || out.No != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, client.CertFile), filepath.Join(dir, client.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, client.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	issuing, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	intermediates.AddCert(issuing)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if len(pair.Leaf.URIs) != 1 || pair.Leaf.URIs[0].String() != "spiffe://muster.test/device/pump-1" {
		t.Errorf("identity %v", pair.Leaf.URIs)
	}
	want := v1.Device{Device: "pump-1", No: 1, Cohort: "north", Profile: "pump", Class: "audit", History: true, State: v1.StateEnrolled, Method: "operator"}
	got, err := s.client.Device(t.Context(), "pump-1")
	if err != nil || len(got.Certificates) != 1 || got.Certificates[0].Serial != pair.Leaf.SerialNumber.Text(16) || !got.Certificates[0].NotAfter.Equal(pair.Leaf.NotAfter) ||
		time.Since(got.EnrolledAt).Abs() > time.Minute {
		t.Errorf("%+v, %v", got, err)
	}
	got.EnrolledAt, got.Certificates = time.Time{}, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}

	again, err := client.Enroll(t.Context(), s.base, token, request, dir)
	if err != nil || again.No != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	if leaf(t, again.Certificate).SerialNumber.Cmp(pair.Leaf.SerialNumber) == 0 {
		t.Error("a second enrolment gave the same certificate")
	}
}

func TestWhatContradictsTheRegistryIsAConflict(t *testing.T) {
	s := start(t)
	key := newKey(t)
	first := v1.Enrolment{Device: "d1", Cohort: "c", CSR: csr(t, &x509.CertificateRequest{}, key)}
	if _, err := s.client.Enroll(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*v1.Enrolment){
		"csr":     func(e *v1.Enrolment) { e.CSR = csr(t, &x509.CertificateRequest{}, newKey(t)) },
		"cohort":  func(e *v1.Enrolment) { e.Cohort = "d" },
		"profile": func(e *v1.Enrolment) { e.Profile = "other" },
		"class":   func(e *v1.Enrolment) { e.Class = "debug" },
		"history": func(e *v1.Enrolment) { e.History = true },
	} {
		other := first
		change(&other)
		_, err := s.client.Enroll(t.Context(), other)
		var problem *v1.Problem
		if !errors.As(err, &problem) || problem.Status != http.StatusConflict || problem.Field != field {
			t.Errorf("another %s: %v", field, err)
		}
	}
	stolen := first
	stolen.Device = "d2"
	var problem *v1.Problem
	if _, err := s.client.Enroll(t.Context(), stolen); !errors.As(err, &problem) || problem.Status != 409 || !strings.Contains(problem.Detail, "d1") {
		t.Errorf("another device's key: %v", err)
	}
	if page, err := s.client.Devices(t.Context(), 0, 10); err != nil || len(page.Devices) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestARequestForAnotherDevicesNameIsRefused(t *testing.T) {
	s := start(t)
	uri := func(path string) []*url.URL { return []*url.URL{{Scheme: "spiffe", Host: "muster.test", Path: path}} }
	for name, greedy := range map[string]*x509.CertificateRequest{
		"common name": {Subject: pkix.Name{CommonName: "victim"}},
		"identity":    {Subject: pkix.Name{CommonName: "d1"}, URIs: uri("/device/victim")},
		"host":        {Subject: pkix.Name{CommonName: "d1"}, DNSNames: []string{"localhost"}},
	} {
		_, err := s.client.Enroll(t.Context(), v1.Enrolment{Device: "d1", Cohort: "c", CSR: csr(t, greedy, newKey(t))})
		var problem *v1.Problem
		if !errors.As(err, &problem) || problem.Status != http.StatusForbidden || problem.Field != "csr" {
			t.Errorf("another %s: %v", name, err)
		}
	}
	modest := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "d1", Organization: []string{"ACME"}}, URIs: uri("/device/d1")}
	out, err := s.client.Enroll(t.Context(), v1.Enrolment{Device: "d1", Cohort: "c", CSR: csr(t, modest, newKey(t))})
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, out.Certificate)
	if len(cert.URIs) != 1 || cert.URIs[0].Path != "/device/d1" || len(cert.DNSNames) != 0 || cert.Subject.CommonName != "d1" || len(cert.Subject.Organization) != 0 {
		t.Errorf("%v %v %v", cert.URIs, cert.DNSNames, cert.Subject)
	}
}

func TestEveryRefusalIsAProblemThatNamesTheFault(t *testing.T) {
	s := start(t)
	good := csr(t, &x509.CertificateRequest{}, newKey(t))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(good))
	forged := slices.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	enrolment := func(change func(*v1.Enrolment)) string {
		e := v1.Enrolment{Device: "d1", Cohort: "c", CSR: good}
		change(&e)
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for name, c := range map[string]struct {
		method, path, auth, contentType, body string
		status                                int
		field, detail                         string
	}{
		"no token":             {auth: "-", status: 401},
		"a wrong token":        {auth: "Bearer " + strings.Repeat("x", len(token)), status: 401},
		"basic authentication": {auth: "Basic " + token, status: 401},
		"no path":              {method: "GET", path: "/api/v1/nothing", status: 404},
		"no such device":       {method: "GET", path: "/api/v1/devices/ghost", status: 404, field: "device"},
		"a hostile name":       {method: "GET", path: "/api/v1/devices/..%2f..%2fetc", status: 404},
		"no such schema":       {method: "GET", path: "/api/v1/schemas/7", status: 404},
		"a wild page":          {method: "GET", path: "/api/v1/devices?limit=100000000", status: 400, field: "limit"},
		"a form":               {contentType: "application/x-www-form-urlencoded", body: "device=d1", status: 415},
		"no JSON":              {body: "{", status: 400},
		"two values":           {body: enrolment(func(*v1.Enrolment) {}) + "{}", status: 400},
		"an unknown member":    {body: `{"device":"d1","cohort":"c","admin":true}`, status: 400, detail: "admin"},
		"a mistyped member":    {body: `{"device":7}`, status: 400, field: "device"},
		"a large body":         {body: `{"device":"` + strings.Repeat("x", 70<<10) + `"}`, status: 413, detail: "65536"},
		"a large tail":         {body: enrolment(func(*v1.Enrolment) {}) + strings.Repeat(" ", 70<<10), status: 413},
		"a bad name":           {body: enrolment(func(e *v1.Enrolment) { e.Device = "UPPER" }), status: 422, field: "device"},
		"a bad cohort":         {body: enrolment(func(e *v1.Enrolment) { e.Cohort = "" }), status: 422, field: "cohort"},
		"a bad profile":        {body: enrolment(func(e *v1.Enrolment) { e.Profile = "x'); DROP TABLE" }), status: 422, field: "profile"},
		"a bad class":          {body: enrolment(func(e *v1.Enrolment) { e.Class = "vip" }), status: 422, field: "class"},
		"a weak key":           {body: enrolment(func(e *v1.Enrolment) { e.CSR = csr(t, &x509.CertificateRequest{}, weak) }), status: 422, field: "csr", detail: "1024"},
		"a forged signature": {body: enrolment(func(e *v1.Enrolment) {
			e.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}))
		}), status: 422, field: "csr", detail: "signature"},
		"an oversize request": {body: enrolment(func(e *v1.Enrolment) { e.CSR = good + strings.Repeat("x", 20<<10) }), status: 422, field: "csr", detail: "limit"},
		"no request":          {body: enrolment(func(e *v1.Enrolment) { e.CSR = "" }), status: 422, field: "csr"},
		"an empty schema":     {path: "/api/v1/schemas", body: `{"metrics":[]}`, status: 422, field: "metrics"},
		"a bad metric":        {path: "/api/v1/schemas", body: `{"metrics":[{"name":"a b","kind":"int"}]}`, status: 422, field: "metrics[0].name"},
		"a bad kind":          {path: "/api/v1/schemas", body: `{"metrics":[{"name":"a","kind":"blob"}]}`, status: 422, field: "metrics[0].kind"},
		"a bad scale":         {path: "/api/v1/schemas", body: `{"metrics":[{"name":"a","kind":"float","scale":2}]}`, status: 422, field: "metrics[0].scale"},
		"an ack without why":  {path: "/api/v1/incidents/iabcdefgh2345/acknowledge", body: `{}`, status: 422, field: "why"},
		"an ack of a number":  {path: "/api/v1/incidents/17/acknowledge", body: `{"why":"mine"}`, status: 422, field: "incident"},
		"an ack in capitals":  {path: "/api/v1/incidents/IABCDEFGH2345/acknowledge", body: `{"why":"mine"}`, status: 422, field: "incident"},
		"an ack elsewhere":    {path: "/api/v1/incidents/iabcdefgh2345%2f..%2fx/acknowledge", body: `{"why":"mine"}`, status: 422, field: "incident"},
		"a metric twice":      {path: "/api/v1/schemas", body: `{"metrics":[{"name":"a","kind":"int"},{"name":"a","kind":"int"}]}`, status: 422, field: "metrics[1].name"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path := c.method, c.path
			if method == "" {
				method = http.MethodPost
			}
			if path == "" {
				path = "/api/v1/devices"
			}
			req, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			switch c.auth {
			case "":
				req.Header.Set("Authorization", "Bearer "+token)
			case "-":
			default:
				req.Header.Set("Authorization", c.auth)
			}
			req.Header.Set("Content-Type", "application/json")
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			data, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			var problem v1.Problem
			if err := json.Unmarshal(data, &problem); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if res.StatusCode != c.status || problem.Status != c.status || problem.Title == "" ||
				res.Header.Get("Content-Type") != v1.ProblemType || !strings.Contains(problem.Detail, c.detail) ||
				c.field != "" && problem.Field != c.field {
				t.Errorf("%d %s", res.StatusCode, data)
			}
			if c.status == 401 && res.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	if page, err := s.client.Devices(t.Context(), 0, 10); err != nil || len(page.Devices) != 0 {
		t.Errorf("something was enrolled: %+v, %v", page, err)
	}
}

func TestPagesHoldEveryDeviceOnce(t *testing.T) {
	s := start(t)
	for i := range 7 {
		e := v1.Enrolment{Device: fmt.Sprintf("d%d", i), Cohort: "c", CSR: csr(t, &x509.CertificateRequest{}, newKey(t))}
		if _, err := s.client.Enroll(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for after, pages := uint32(0), 0; ; pages++ {
		page, err := s.client.Devices(t.Context(), after, 3)
		if err != nil || pages > 3 {
			t.Fatal(pages, err)
		}
		for _, d := range page.Devices {
			got = append(got, d.Device)
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	if want := []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if page, err := s.client.Devices(t.Context(), 4, 3); err != nil || page.Next != 0 || len(page.Devices) != 3 {
		t.Errorf("the last page, full: %+v, %v", page, err)
	}
}

func TestASchemaHasOneId(t *testing.T) {
	s := start(t)
	ab := []v1.Metric{{Name: "a", Kind: "int", Scale: 2}, {Name: "b", Kind: "text"}}
	first, err := s.client.DefineSchema(t.Context(), ab)
	if err != nil || first.ID != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := s.client.DefineSchema(t.Context(), ab); err != nil || again.ID != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	ba := []v1.Metric{ab[1], ab[0]}
	if other, err := s.client.DefineSchema(t.Context(), ba); err != nil || other.ID != 2 {
		t.Errorf("another order is another schema: %+v, %v", other, err)
	}
	if got, err := s.client.Schema(t.Context(), 2); err != nil || !slices.Equal(got.Metrics, ba) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWithoutTheLogTheAnswerIsAskAgain(t *testing.T) {
	s := start(t)
	if _, err := s.client.Devices(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	s.cluster.Close()
	began := time.Now()
	_, err := s.client.Enroll(t.Context(), v1.Enrolment{Device: "d1", Cohort: "c", CSR: csr(t, &x509.CertificateRequest{}, newKey(t))})
	var problem *v1.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
		t.Fatalf("%v", err)
	}
	if took := time.Since(began); took > 20*time.Second { // after which the server would answer no more
		t.Errorf("it took %v", took)
	}
}

func TestATokenThatCrossesANetworkWantsTLS(t *testing.T) {
	for listen, ok := range map[string]bool{"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true, "0.0.0.0:0": false, ":0": false, "10.0.0.1:0": false} {
		cfg := api.Config{Listen: listen, Token: daemon.Secret(token)}
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", listen, err)
		}
		cfg.Plain = true
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s, plain in words: %v", listen, err)
		}
	}
	if err := (api.Config{Listen: "127.0.0.1:0", Token: "short"}).Validate(); err == nil || bytes.Contains([]byte(err.Error()), []byte("short")) {
		t.Errorf("a short token: %v", err)
	}
}

func TestAStandbyAnswersWhatIsReadAndSendsChangesAway(t *testing.T) {
	s := start(t)
	s.enrol(t, "d1", "c", nil)
	other := run(t, s.cluster, s.authority, "b")
	if d, err := other.client.Device(t.Context(), "d1"); err != nil || d.No != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if st, err := other.client.Status(t.Context()); err != nil || st.Role != "standby" || !st.Ready {
		t.Errorf("%+v, %v", st, err)
	}
	made, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "alice", Role: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.writer.Sync(t.Context()); err != nil { // with the token, however long that takes
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", other.base+"/api/v1/devices/d1/revoke", strings.NewReader(`{"why":"stolen"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+made.Secret)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "stands by") {
		t.Errorf("%s %s %v", res.Status, text, err)
	}
}

func TestAStandbyShowsWhatWasAcknowledgedBeforeItWasAsked(t *testing.T) {
	s := start(t)
	other := run(t, s.cluster, s.authority, "b")
	if st, err := other.client.Status(t.Context()); err != nil || st.Role != "standby" {
		t.Fatalf("%+v, %v", st, err)
	}
	// Who reads the log on is held up; who writes it does not read.
	shows := func(id string) (took time.Duration, err error) {
		var held atomic.Int32
		wait, release := context.WithCancel(context.Background())
		defer release()
		s.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			if wait.Err() == nil {
				s.cluster.KeepControl()
				held.Add(1)
				s.cluster.SleepControl(func() { <-wait.Done() })
			}
			return nil, nil, false
		})
		for deadline := time.Now().Add(patience); held.Load() == 0; {
			if time.Now().After(deadline) {
				t.Fatal("nobody reads the log on")
			}
			<-time.After(time.Millisecond)
		}
		s.enrol(t, id, "c", nil)
		answered := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := other.client.Device(t.Context(), id)
			answered <- err
		}()
		select {
		case err := <-answered:
			return time.Since(began), errors.Join(errors.New("answered from what it knew"), err)
		case <-time.After(200 * time.Millisecond): // it waits for what the log says
		}
		release()
		err = <-answered
		return time.Since(began), err
	}
	for deadline, n := time.Now().Add(patience), 1; ; n++ {
		took, err := shows(fmt.Sprintf("d%d", n))
		if err == nil {
			return
		}
		// It waits for a second and not longer, which may be over on a machine that has much else to do.
		if status(err) != http.StatusNotFound || took < time.Second || time.Now().After(deadline) {
			t.Fatalf("after %v: %v", took, err)
		}
	}
}
