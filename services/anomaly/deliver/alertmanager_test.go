package deliver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/anomaly/judgetest"
)

// realAlertmanager is a process of Debian's package, behind an address that stays when it is started again.
type realAlertmanager struct {
	*httptest.Server
	t      testing.TB
	binary string
	config string
	cmd    *exec.Cmd

	mu sync.Mutex // over at
	at *url.URL
}

func startAlertmanager(t testing.TB, config string) *realAlertmanager {
	t.Helper()
	var binary string
	for _, name := range []string{"prometheus-alertmanager", "alertmanager"} {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Alertmanager: apt-get install prometheus-alertmanager")
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED: there is no Alertmanager: apt-get install prometheus-alertmanager")
	}
	a := &realAlertmanager{t: t, binary: binary, config: filepath.Join(t.TempDir(), "alertmanager.yml")}
	if err := os.WriteFile(a.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	a.Server = httptest.NewServer(&httputil.ReverseProxy{Transport: transport, ErrorLog: quiet(), Rewrite: func(r *httputil.ProxyRequest) {
		a.mu.Lock()
		defer a.mu.Unlock()
		r.SetURL(a.at)
	}})
	t.Cleanup(a.Close)
	a.start()
	t.Cleanup(a.stop)
	return a
}

// start begins with nothing remembered.
func (a *realAlertmanager) start() {
	a.t.Helper()
	a.cmd = exec.CommandContext(a.t.Context(), a.binary, "--config.file="+a.config, "--storage.path="+a.t.TempDir(), "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	out, err := a.cmd.StderrPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	listens := regexp.MustCompile(`address=(127\.0\.0\.1:[0-9]+)`)
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(out, &said))
	for lines.Scan() {
		if m := listens.FindStringSubmatch(lines.Text()); m != nil && !strings.HasSuffix(m[1], ":0") {
			a.mu.Lock()
			a.at = &url.URL{Scheme: "http", Host: m[1]}
			a.mu.Unlock()
			go func() { _, _ = io.Copy(io.Discard, out) }() // until it ends
			return
		}
	}
	a.stop()
	a.t.Fatalf("Alertmanager does not listen:\n%s", said.String())
}

func (a *realAlertmanager) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

// firing is an alert as Alertmanager shows it.
type firing struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	Receivers           []struct{ Name string }
	Status              struct{ State string }
}

// alerts are those that fire; nil while it does not answer.
func (a *realAlertmanager) alerts() (list []firing) {
	resp, err := a.Client().Get(a.URL + "/api/v2/alerts")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	slices.SortFunc(list, func(x, y firing) int { return strings.Compare(x.Labels["incident"], y.Labels["incident"]) })
	return list
}

// documented is the configuration that docs/alerting.md shows.
func documented(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/alerting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```yaml alertmanager\n")
	text, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("docs/alerting.md has no configuration of Alertmanager")
	}
	return text
}

func TestARealAlertmanagerShowsIncidents(t *testing.T) {
	t.Parallel()
	am, j := startAlertmanager(t, documented(t)), newLog(t)
	// The first member of the cluster is away all the time.
	r := Route{Name: "prometheus", Alertmanager: &Alertmanager{URLs: []string{"http://127.0.0.1:1", am.URL}}, Repeat: time.Second}
	deliverTo(t, j, r)
	a, b := incident(1, event.SeverityCritical), incident(2, event.SeverityWarning)
	a.Since = time.Now().Add(-time.Hour).Truncate(time.Millisecond).UnixMilli()
	b.Since, b.Acked = time.Now().Add(24*365*time.Hour).UnixMilli(), event.Ack{Who: "ann", At: since} // the log's time need not be ours
	j.Say(t, a, b)
	eventually(t, "both alerts", func() bool { return len(am.alerts()) == 2 })
	got := am.alerts()
	for name, want := range map[string]string{"alertname": "MusterSilentCohort", "severity": "critical", "kind": "silent-cohort", "incident": a.ID, "cohort": "c1", "region": "eu"} {
		if got[0].Labels[name] != want {
			t.Errorf("label %s is %q, want %q", name, got[0].Labels[name], want)
		}
	}
	for name, want := range map[string]string{"summary": "c1: 3 of 10 devices are silent", "runbook_url": a.Runbook, "cause": "power"} {
		if got[0].Annotations[name] != want {
			t.Errorf("annotation %s is %q, want %q", name, got[0].Annotations[name], want)
		}
	}
	if !got[0].StartsAt.Equal(time.UnixMilli(a.Since)) || got[0].Receivers[0].Name != "on-call" || got[1].Receivers[0].Name != "chat" || got[1].Annotations["acknowledged_by"] != "ann" {
		t.Errorf("they are %+v", got)
	}
	settled(t, j, "prometheus")

	// It forgets everything, and has it again.
	am.stop()
	am.start()
	eventually(t, "both alerts after the restart", func() bool { return len(am.alerts()) == 2 })

	// Severity is a label: the alert of before must not stay.
	worse := then(b, func(i *event.Incident) { i.Severity = event.SeverityCritical })
	j.Say(t, worse)
	eventually(t, "the alert with its new severity alone", func() bool {
		list := am.alerts()
		return len(list) == 2 && list[1].Labels["severity"] == "critical"
	})
	j.Say(t, closed(a))
	eventually(t, "the end of one", func() bool { list := am.alerts(); return len(list) == 1 && list[0].Labels["incident"] == b.ID })
	// What is open where the detector ends its work stays for a while, and what it does not know is not ended by it.
	j.Say(t, closed(worse))
	eventually(t, "the end of both", func() bool { return am.alerts() != nil && len(am.alerts()) == 0 })
	settled(t, j, "prometheus")
}

func TestARealAlertmanagerHasASummaryOfWhatIsTooMany(t *testing.T) {
	t.Parallel()
	am, j := startAlertmanager(t, documented(t)), newLog(t)
	deliverTo(t, j, Route{Name: "prometheus", Alertmanager: &Alertmanager{URLs: []string{am.URL}}, Repeat: time.Second, Rate: 250})
	var open, over []judgetest.Said
	for n := range 400 {
		i := incident(n, event.SeverityWarning)
		open, over = append(open, i), append(over, closed(i))
	}
	j.Say(t, open...)
	eventually(t, "250 alerts and a summary", func() bool {
		list := am.alerts()
		return len(list) == 251 && list[0].Labels["alertname"] == "MusterManyIncidents" && list[0].Annotations["summary"] == "150 more incidents are open: 150 silent-cohort"
	})
	j.Say(t, over...)
	eventually(t, "the end of all", func() bool { list := am.alerts(); return list != nil && len(list) == 0 })
}

func TestAHeadlineSaysOnceWhatItIsAbout(t *testing.T) {
	for title, want := range map[string]string{
		"cohort c1: 3 of 10 devices are silent": "cohort c1: 3 of 10 devices are silent",
		"3 of 10 devices are silent":            "c1: 3 of 10 devices are silent",
		"3 devices of c10 are silent":           "c1: 3 devices of c10 are silent",
	} {
		if got := headline(&event.Incident{Subject: event.Subject{Cohort: "c1"}, Title: title}); got != want {
			t.Errorf("%q: %q, want %q", title, got, want)
		}
	}
}
