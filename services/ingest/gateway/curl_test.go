package gateway_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muster.dev/proto/record"
)

func TestCurlSendsAReadingAsItStands(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have curl: the README's line is tried with it")
		}
		t.Skip("SKIPPED: curl is not installed, so that the README's line was not tried")
	}
	s := open(t, nil, "boiler-1")
	id := s.ca.Device("boiler-1")
	file := filepath.Join(t.TempDir(), "body")
	run := func(body []byte, args ...string) string {
		t.Helper()
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--silent", "--show-error", "--max-time", "10", "--cacert", s.ca.CA(), "--cert", id.Cert, "--key", id.Key,
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
	// A large body, for which curl asks first over HTTP/1.1 (Expect: 100-continue). Over HTTP/2 it does not ask, and the
	// answer comes before the body has ended, which curl 7 does not always bear.
	large := bytes.Repeat([]byte(" "), 5<<20)
	if got := run(large, append(json, "--http1.1")...); !strings.Contains(got, `"limit":4194304`) || !strings.Contains(got, "\n413 ") {
		t.Errorf("%s", got)
	}
	for range 10 {
		if got := run(large, append(json, "--http2")...); !strings.Contains(got, `"limit":4194304`) || !strings.HasSuffix(got, "\n413 2") {
			t.Errorf("%s", got)
		}
	}
	if n := len(s.records(record.TopicTelemetry)); n != 4 {
		t.Errorf("%d records", n)
	}
	s.balanced()
}
