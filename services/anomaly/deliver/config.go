package deliver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/proto/event"
)

// Config is what an operator sets about delivery: the section `deliver`.
type Config struct {
	// Session is how long the log waits for a process that fell silent before another delivers in its place.
	Session time.Duration `yaml:"session"`
	Routes  []Route       `yaml:"routes"`
}

// Route is one receiver, and what it is told. Of Alertmanager, PagerDuty and Webhook exactly one is set.
type Route struct {
	// Name is the route's for ever: its position in the log is kept under it.
	Name         string        `yaml:"name"`
	Match        Match         `yaml:"match,omitempty"`
	Alertmanager *Alertmanager `yaml:"alertmanager,omitempty"`
	PagerDuty    *PagerDuty    `yaml:"pagerduty,omitempty"`
	Webhook      *Webhook      `yaml:"webhook,omitempty"`
	// Rate is how many messages a minute PagerDuty or a webhook is sent, and how many of them at once; 0 is 30. Of an
	// Alertmanager, which groups by itself, it is how many incidents it has at a time; 0 is 1,000.
	Rate int `yaml:"rate,omitempty"`
	// Repeat is when PagerDuty or a webhook is told again of an incident that is open and acknowledged by nobody; each time
	// it takes twice as long, up to 16 times. 0 is 15m; below 0 is never. An Alertmanager is told every Repeat; 0 is 1m.
	Repeat time.Duration `yaml:"repeat,omitempty"`
	// Timeout bounds one request; 0 is 10s.
	Timeout time.Duration `yaml:"timeout,omitempty"`
}

// Match says which incidents a route is about. An empty list is all.
type Match struct {
	Kinds      []string `yaml:"kinds,omitempty"`
	Severities []string `yaml:"severities,omitempty"`
	Cohorts    []string `yaml:"cohorts,omitempty"` // with * and ?
	Regions    []string `yaml:"regions,omitempty"`
}

// Alertmanager is Prometheus' Alertmanager, by its API v2.
type Alertmanager struct {
	// URLs are of all members of a cluster, which share silences but not alerts. Their networks may be private.
	URLs []string `yaml:"urls"`
	// User and its secret log in; a secret without a user is a bearer token.
	User       string        `yaml:"user,omitempty"`
	Secret     daemon.Secret `yaml:"secret,omitempty"`
	SecretFile string        `yaml:"secret_file,omitempty"`
	CAFile     string        `yaml:"ca_file,omitempty"`
}

// PagerDuty is PagerDuty's Events API v2, or what speaks it.
type PagerDuty struct {
	// URL is empty for PagerDuty's own.
	URL            string        `yaml:"url,omitempty"`
	RoutingKey     daemon.Secret `yaml:"routing_key,omitempty"`
	RoutingKeyFile string        `yaml:"routing_key_file,omitempty"`
	Reach          `yaml:",inline"`
}

// Webhook is anybody's: one signed POST a message.
type Webhook struct {
	// URL is a secret, since many receivers know their callers by it.
	URL     daemon.Secret `yaml:"url,omitempty"`
	URLFile string        `yaml:"url_file,omitempty"`
	// Secret signs what is sent.
	Secret     daemon.Secret `yaml:"secret,omitempty"`
	SecretFile string        `yaml:"secret_file,omitempty"`
	Reach      `yaml:",inline"`
}

// Reach is how far a route may go.
type Reach struct {
	// AllowHTTP lets the URL be http://.
	AllowHTTP bool `yaml:"allow_http,omitempty"`
	// AllowNetworks are those that may be dialled though they are private, loopback or link-local, as 10.20.0.0/16.
	AllowNetworks []string `yaml:"allow_networks,omitempty"`
	// CAFile has the certificates that are trusted instead of the system's.
	CAFile string `yaml:"ca_file,omitempty"`
}

// Bounds of a configuration.
const (
	MaxRoutes  = 32
	maxList    = 256
	maxTimeout = 5 * time.Minute
	maxRepeat  = 7 * 24 * time.Hour
	maxRate    = 10_000
	minSecret  = 16
	minSession = time.Second // most logs want 6 s or more
)

// Defaults of a route.
const (
	defaultRate     = 30
	defaultAlerts   = 1_000
	defaultRepeat   = 15 * time.Minute
	defaultResend   = time.Minute
	defaultTimeout  = 10 * time.Second
	defaultEndpoint = "https://events.pagerduty.com/v2/enqueue"
)

// DefaultConfig tells nobody.
func DefaultConfig() Config { return Config{Session: 10 * time.Second} }

// Validate names the first key that cannot be used. Secrets that are in files have been read by then (daemon.Load).
func (c Config) Validate() error {
	if c.Session < minSession || c.Session > 5*time.Minute {
		return fmt.Errorf("session %v: want 1s to 5m", c.Session)
	}
	if len(c.Routes) > MaxRoutes {
		return fmt.Errorf("routes: %d, at most %d", len(c.Routes), MaxRoutes)
	}
	names := map[string]bool{}
	for i, r := range c.Routes {
		if !event.Name(r.Name) {
			return fmt.Errorf("routes[%d].name %.80q: want [a-z0-9][a-z0-9._-]{0,62}", i, r.Name)
		}
		if names[r.Name] {
			return fmt.Errorf("routes[%d].name %q: two routes have it", i, r.Name)
		}
		names[r.Name] = true
		if err := r.validate(); err != nil {
			return fmt.Errorf("routes[%d] (%s): %w", i, r.Name, err)
		}
	}
	return nil
}

func (r Route) validate() error {
	n := 0
	var err error
	if r.Alertmanager != nil {
		n++
		err = r.Alertmanager.validate()
	}
	if r.PagerDuty != nil {
		n++
		err = r.PagerDuty.validate()
	}
	if r.Webhook != nil {
		n++
		err = r.Webhook.validate()
	}
	switch {
	case n != 1:
		return fmt.Errorf("%d receivers: want one of alertmanager, pagerduty, webhook", n)
	case err != nil:
		return err
	case r.Rate < 0 || r.Rate > maxRate:
		return fmt.Errorf("rate %d: want 1 to %d", r.Rate, maxRate)
	case r.Repeat > maxRepeat || r.Repeat > 0 && r.Repeat < time.Second:
		return fmt.Errorf("repeat %v: want 1s to %v", r.Repeat, maxRepeat)
	case r.Repeat < 0 && r.Alertmanager != nil:
		return fmt.Errorf("repeat %v: an Alertmanager forgets what it is not told again", r.Repeat)
	case r.Timeout < 0 || r.Timeout > maxTimeout:
		return fmt.Errorf("timeout %v: want up to %v", r.Timeout, maxTimeout)
	}
	return r.Match.validate()
}

func (m Match) validate() error {
	for _, list := range []struct {
		key   string
		has   []string
		known []string
	}{
		{"kinds", m.Kinds, kinds}, {"severities", m.Severities, []string{event.SeverityCritical, event.SeverityWarning, event.SeverityInfo}},
		{"cohorts", m.Cohorts, nil}, {"regions", m.Regions, nil},
	} {
		if len(list.has) > maxList {
			return fmt.Errorf("match.%s: %d entries, at most %d", list.key, len(list.has), maxList)
		}
		for _, s := range list.has {
			if list.known != nil && !slices.Contains(list.known, s) {
				return fmt.Errorf("match.%s %.80q: want one of %q", list.key, s, list.known)
			}
		}
	}
	for _, glob := range m.Cohorts {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return fmt.Errorf("match.cohorts %.80q: want a name, with * or ?", glob)
		}
	}
	return nil
}

var kinds = []string{string(event.SilentCohort), string(event.Pipeline), string(event.UpdateFailure), string(event.TelemetryAnomaly), string(event.Spend), string(event.Security)}

// matches says whether the route is about an incident.
func (m Match) matches(i *event.Incident) bool {
	among := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	if !among(m.Kinds, string(i.Kind)) || !among(m.Severities, i.Severity) || !among(m.Regions, i.Subject.Region) {
		return false
	}
	return len(m.Cohorts) == 0 || slices.ContainsFunc(m.Cohorts, func(glob string) bool {
		ok, err := path.Match(glob, i.Subject.Cohort)
		return ok && err == nil
	})
}

func (a Alertmanager) validate() error {
	if len(a.URLs) == 0 || len(a.URLs) > maxMembers {
		return fmt.Errorf("alertmanager.urls: %d, want 1 to %d", len(a.URLs), maxMembers)
	}
	for _, u := range a.URLs {
		if err := checkURL(u, true); err != nil {
			return fmt.Errorf("alertmanager.urls: %q: %w", u, err)
		}
	}
	if a.User != "" && a.Secret == "" {
		return fmt.Errorf("alertmanager.user %q: secret or secret_file is missing", a.User)
	}
	return nil
}

const maxMembers = 8

func (p PagerDuty) validate() error {
	if p.URL != "" {
		if err := checkURL(p.URL, p.AllowHTTP); err != nil {
			return fmt.Errorf("pagerduty.url: %q: %w", p.URL, err)
		}
	}
	if p.RoutingKey == "" {
		return errors.New("pagerduty: routing_key or routing_key_file is missing")
	}
	return p.Reach.validate("pagerduty")
}

func (w Webhook) validate() error {
	switch {
	case w.URL == "":
		return errors.New("webhook: url or url_file is missing")
	case w.Secret == "":
		return errors.New("webhook: secret or secret_file is missing: what is sent is signed with it")
	case len(w.Secret) < minSecret:
		return fmt.Errorf("webhook.secret: %d bytes, want at least %d", len(w.Secret), minSecret)
	}
	if err := checkURL(w.URL.Reveal(), w.AllowHTTP); err != nil {
		return fmt.Errorf("webhook.url: %w", err) // which is not shown: it may be a secret
	}
	return w.Reach.validate("webhook")
}
