package deliver

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/platform/daemon"
)

func goodRoute() Route {
	return Route{Name: "ops", Webhook: &Webhook{URL: "https://example.com/k3y", Secret: secret}}
}

func TestAConfigurationSaysWhichKeyIsWrong(t *testing.T) {
	for want, change := range map[string]func(c *Config, r *Route){
		"":                                    func(*Config, *Route) {},
		"session 0s: want 1s to 5m":           func(c *Config, _ *Route) { c.Session = 0 },
		`routes[0].name "Ops": want [a-z0-9]`: func(_ *Config, r *Route) { r.Name = "Ops" },
		`routes[1].name "ops": two routes have it`:                                   func(c *Config, r *Route) { c.Routes = append(c.Routes, *r) },
		"routes[0] (ops): 0 receivers: want one of alertmanager, pagerduty, webhook": func(_ *Config, r *Route) { r.Webhook = nil },
		"routes[0] (ops): 2 receivers":                                               func(_ *Config, r *Route) { r.PagerDuty = &PagerDuty{RoutingKey: "x"} },
		"webhook.url: http shows what is sent":                                       func(_ *Config, r *Route) { r.Webhook.URL = "http://example.com" },
		"webhook.url: want https":                                                    func(_ *Config, r *Route) { r.Webhook.URL = "gopher://example.com" },
		"webhook.url: want a URL with a host":                                        func(_ *Config, r *Route) { r.Webhook.URL = "https:///x" },
		"webhook.url: a name or password does not belong into a URL":                 func(_ *Config, r *Route) { r.Webhook.URL = "https://a:b@example.com" },
		"webhook: url or url_file is missing":                                        func(_ *Config, r *Route) { r.Webhook.URL = "" },
		"webhook: secret or secret_file is missing":                                  func(_ *Config, r *Route) { r.Webhook.Secret = "" },
		"webhook.secret: 5 bytes, want at least 16":                                  func(_ *Config, r *Route) { r.Webhook.Secret = "short" },
		`webhook.allow_networks "10.0.0.1": want a network`:                          func(_ *Config, r *Route) { r.Webhook.AllowNetworks = []string{"10.0.0.1"} },
		"pagerduty: routing_key or routing_key_file is missing":                      func(_ *Config, r *Route) { r.Webhook, r.PagerDuty = nil, &PagerDuty{} },
		`pagerduty.url: "ftp://x": want https`:                                       func(_ *Config, r *Route) { r.Webhook, r.PagerDuty = nil, &PagerDuty{RoutingKey: "x", URL: "ftp://x"} },
		"alertmanager.urls: 0, want 1 to 8":                                          func(_ *Config, r *Route) { r.Webhook, r.Alertmanager = nil, &Alertmanager{} },
		`alertmanager.user "u": secret or secret_file is missing`: func(_ *Config, r *Route) {
			r.Webhook, r.Alertmanager = nil, &Alertmanager{URLs: []string{"http://a:9093"}, User: "u"}
		},
		"repeat -1s: an Alertmanager forgets what it is not told again": func(_ *Config, r *Route) {
			r.Webhook, r.Alertmanager, r.Repeat = nil, &Alertmanager{URLs: []string{"http://a:9093"}}, -time.Second
		},
		"rate -1: want 1 to 10000":                                          func(_ *Config, r *Route) { r.Rate = -1 },
		"repeat 1ms: want 1s to 168h0m0s":                                   func(_ *Config, r *Route) { r.Repeat = time.Millisecond },
		"timeout 1h0m0s: want up to 5m0s":                                   func(_ *Config, r *Route) { r.Timeout = time.Hour },
		`match.kinds "silence": want one of ["silent-cohort"`:               func(_ *Config, r *Route) { r.Match.Kinds = []string{"silence"} },
		`match.severities "bad": want one of ["critical" "warning" "info"]`: func(_ *Config, r *Route) { r.Match.Severities = []string{"bad"} },
		`match.cohorts "a[": want a name, with * or ?`:                      func(_ *Config, r *Route) { r.Match.Cohorts = []string{"a["} },
		"routes: 33, at most 32":                                            func(c *Config, r *Route) { c.Routes = make([]Route, 33) },
	} {
		c, r := DefaultConfig(), goodRoute()
		change(&c, &r)
		if len(c.Routes) < 33 {
			c.Routes = append([]Route{r}, c.Routes...)
		}
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%v has the secret", err)
		}
	}
}

func TestSecretsComeFromFilesAndAreShownNowhere(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := fmt.Sprintf(`
session: 20s
routes:
  - name: ops
    match: {kinds: [silent-cohort], severities: [critical], cohorts: ["eu-*"], regions: [eu]}
    webhook: {url_file: %s, secret_file: %s, allow_networks: [10.0.0.0/8]}
  - name: pages
    pagerduty: {routing_key_file: %s, allow_http: true}
  - name: prom
    alertmanager: {urls: ["http://alertmanager:9093/"], user: muster, secret: s3cr3t}
`, file("url", "https://example.com/k3y"), file("secret", secret), file("key", routingKey))
	path := file("deliver.yaml", text)
	c := DefaultConfig()
	if err := daemon.Load(path, &c, nil); err != nil {
		t.Fatal(err)
	}
	d, err := New(Settings{Config: c, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	hook, pages, prom := d.routes[0].to.(*webhook), d.routes[1].to.(*pagerDuty), d.routes[2].to.(*alertmanager)
	if hook.url != "https://example.com/k3y" || string(hook.secret) != secret || pages.key != routingKey || pages.url != defaultEndpoint || prom.urls[0] != "http://alertmanager:9093/api/v2/alerts" || prom.auth.Get("Authorization") != "Basic bXVzdGVyOnMzY3IzdA==" {
		t.Errorf("the routes are %+v %+v %+v", hook, pages, prom)
	}
	var out bytes.Buffer
	if err := daemon.Dump(&out, c); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "%v %+v %#v", c.Routes[0].Webhook, *c.Routes[0].Webhook, *c.Routes[2].Alertmanager)
	for _, s := range []string{"k3y", secret, routingKey, "s3cr3t"} {
		if strings.Contains(out.String(), s) {
			t.Errorf("%s is in\n%s", s, out.String())
		}
	}
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	c = DefaultConfig()
	if err := daemon.Load(path, &c, nil); err == nil || !strings.Contains(err.Error(), "routes[0].webhook.secret_file: ") {
		t.Errorf("a secret that all may read: %v", err)
	}
	file("secret", "short")
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Load(path, &c, nil); err == nil || !strings.Contains(err.Error(), "routes[0] (ops): webhook.secret: 5 bytes, want at least 16") {
		t.Errorf("a short secret in a file: %v", err)
	}
}

func TestASignatureIsOfThisBodyNow(t *testing.T) {
	body := []byte(`{"v":1}`)
	header := sign([]byte(secret), noon, body)
	if header != "t=1795176000,v1=b1f1d464624c7088ac1e4924b42430878ee19ce92bed74b2ef2c406c9bebddfc" {
		t.Errorf("the header is %s", header)
	}
	for why, err := range map[string]error{
		"":             Verify([]byte(secret), header, body, noon.Add(time.Minute), 5*time.Minute),
		"want at most": Verify([]byte(secret), header, body, noon.Add(6*time.Minute), 5*time.Minute),
		"ago":          Verify([]byte(secret), header, body, noon.Add(-6*time.Minute), 5*time.Minute),
		"does not fit": Verify([]byte("another secret ......"), header, body, noon, 5*time.Minute),
		"the body":     Verify([]byte(secret), header, append(body, ' '), noon, 5*time.Minute),
		"want t=":      Verify([]byte(secret), "v1=00", body, noon, 5*time.Minute),
		"not fit":      Verify([]byte(secret), header[:len(header)-2], body, noon, 5*time.Minute),
	} {
		if (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", why, err)
		}
	}
}

func FuzzASignatureIsAnyText(f *testing.F) {
	f.Add("t=1,v1=00")
	f.Add(sign([]byte(secret), noon, []byte("x")))
	f.Fuzz(func(t *testing.T, header string) {
		if err := Verify([]byte(secret), header, []byte("y"), noon, time.Hour); err == nil {
			t.Error("it was taken")
		}
	})
}
