package gateway_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

func curlHere(t *testing.T) string {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have curl: the README's line is tried with it")
		}
		t.Skip("SKIPPED: curl is not installed, so that the README's line was not tried")
	}
	return curl
}

// curl tells of the alert by its exit code: 35 during the handshake, 52, 55 or 56 when it comes behind it, as of TLS 1.3.
func TestCurlIsTakenUntilItsCertificateIsRevoked(t *testing.T) {
	curl := curlHere(t)
	s := open(t, nil, "boiler-1", "boiler-2")
	issuer := s.issuer(s.ca)
	body := filepath.Join(t.TempDir(), "body")
	send := func(id gatewaytest.Identity, seq int, version string) (string, error) {
		t.Helper()
		if err := os.WriteFile(body, message(1, seq, ""), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--max-time", "180", version, "--cacert", s.ca.CA(), "--cert", id.Cert, "--key", id.Key,
			"--header", "Content-Type: application/json", "--data-binary", "@"+body, "--write-out", " %{http_code}", s.url("/v1/telemetry")).CombinedOutput()
		return string(out), err
	}
	certificate, device := s.ca.Device("boiler-1"), s.ca.Device("boiler-2")
	serial := s.issue("boiler-1", certificate, issuer)
	s.issue("boiler-2", device, issuer)
	for _, id := range []gatewaytest.Identity{certificate, device} {
		for seq, version := range []string{"--http1.1", "--http2"} {
			if got, err := send(id, seq, version); err != nil || !strings.HasSuffix(got, " 200") {
				t.Fatalf("%s: %s %v", version, got, err)
			}
		}
	}
	s.declare(event.CertificateRevoked{No: s.nos["boiler-1"], Serial: serial})
	s.declare(event.DeviceRevoked{No: s.nos["boiler-2"]})
	seq := 10
	for name, id := range map[string]gatewaytest.Identity{"its certificate": certificate, "the device": device} {
		s.eventually(name+" is revoked, and it is taken", func() bool {
			seq++
			got, err := send(id, seq, "--http1.1")
			return err != nil || !strings.HasSuffix(got, " 200")
		})
		stored := len(s.records(record.TopicTelemetry))
		for _, version := range []string{"--http1.1", "--http2"} {
			seq++
			got, err := send(id, seq, version)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !slices.Contains([]int{35, 52, 55, 56}, exit.ExitCode()) || !strings.Contains(got, "000") {
				t.Errorf("%s, %s: %s %v", name, version, got, err)
			}
			t.Logf("%s, %s: %s (%v)", name, version, got, err)
		}
		if n := len(s.records(record.TopicTelemetry)); n != stored {
			t.Errorf("%s: %d records more", name, n-stored)
		}
	}
	s.balanced()
}

func TestCurlSendsAReadingAsItStands(t *testing.T) {
	curl := curlHere(t)
	const most = 1 << 20
	s := open(t, func(c *gateway.Config) { c.Limits.Body = most }, "boiler-1")
	id := s.ca.Device("boiler-1")
	file := filepath.Join(t.TempDir(), "body")
	run := func(body []byte, args ...string) string {
		t.Helper()
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--silent", "--show-error", "--max-time", "180", "--expect100-timeout", "180", "--cacert", s.ca.CA(), "--cert", id.Cert, "--key", id.Key,
			"--write-out", "\n%{http_code} %{http_version}", "--data-binary", "@" + file}, args...)
		out, err := exec.CommandContext(t.Context(), curl, append(args, s.url("/v1/telemetry"))...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	json := []string{"--header", "Content-Type: application/json"}
	if got := run(message(3, 17, ""), json...); !strings.HasPrefix(got, `{"status":"stored","values":2}`) || !strings.Contains(got, "\n200 ") {
		t.Errorf("%s", got)
	}
	if got := run(message(3, 18, ""), append(json, "--http1.1")...); !strings.HasSuffix(got, "\n200 1.1") {
		t.Errorf("%s", got)
	}
	if got := run(compress(t, "gzip", message(3, 19, "")), append(json, "--header", "Content-Encoding: gzip", "--header", "Transfer-Encoding: chunked")...); !strings.Contains(got, "\n200 ") {
		t.Errorf("%s", got)
	}
	if got := run(compactMessage(t, 3, 20, 0, nil), "--header", "Content-Type: "+typeCompact); !strings.HasPrefix(got, `{"status":"stored","values":55}`) {
		t.Errorf("%s", got)
	}
	if got := run([]byte(`{"readings":7}`), json...); !strings.Contains(got, `"field":"readings"`) || !strings.Contains(got, "\n422 ") {
		t.Errorf("%s", got)
	}
	// A body that is too large, and not so large that a busy machine needs as long for it as a refusal waits for its end; for which curl asks first over HTTP/1.1 (Expect: 100-continue). Over HTTP/2 it does not ask, and the
	// answer comes before the body has ended, which curl 7 does not always bear.
	large := bytes.Repeat([]byte(" "), most+most/4)
	if got := run(large, append(json, "--http1.1")...); !strings.Contains(got, `"limit":1048576`) || !strings.Contains(got, "\n413 ") {
		t.Errorf("%s", got)
	}
	for range 10 {
		if got := run(large, append(json, "--http2")...); !strings.Contains(got, `"limit":1048576`) || !strings.HasSuffix(got, "\n413 2") {
			t.Errorf("%s", got)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}
