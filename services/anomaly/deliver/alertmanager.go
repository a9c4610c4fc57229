package deliver

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/event"
)

const (
	// alertBatch is how many alerts a request has; one is of a few kilobytes.
	alertBatch = 200
	// holds is for how many repeats an Alertmanager keeps an alert of which it hears nothing, and for how many it is told that
	// one is over: longer than a process needs to be started again somewhere else.
	holds = 10
)

// alertmanager speaks to all members of a cluster.
type alertmanager struct {
	route  string
	urls   []string
	auth   http.Header
	post   *poster
	repeat time.Duration
	now    func() time.Time
}

func (a *Alertmanager) open(route string, timeout, repeat time.Duration, resolver *net.Resolver) (receiver, error) {
	secret := a.Secret.Reveal()
	d := dialing{guard: guard{inside}, caFile: a.CAFile, resolver: resolver}
	out := &alertmanager{route: route, repeat: repeat, auth: http.Header{}, now: time.Now}
	switch {
	case a.User != "":
		out.auth.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.User+":"+secret)))
	case secret != "":
		out.auth.Set("Authorization", "Bearer "+secret)
	}
	for _, u := range a.URLs {
		out.urls = append(out.urls, strings.TrimSuffix(u, "/")+"/api/v2/alerts")
	}
	var err error
	if out.post, err = d.poster(timeout, secret); err != nil {
		return nil, fmt.Errorf("alertmanager: %w", err)
	}
	return out, nil
}

// alert is one of API v2.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
}

// send tells all members; that one has it is enough, for the others are told again before long.
func (a *alertmanager) send(ctx context.Context, list []message) *failure {
	var alerts []alert
	now := a.now()
	for _, m := range list {
		alerts = append(alerts, a.alerts(m, now)...)
	}
	body, err := json.Marshal(alerts)
	if err != nil {
		return &failure{text: err.Error(), err: err}
	}
	answers := make(chan *failure, len(a.urls))
	for _, u := range a.urls {
		go func() { answers <- a.post.post(ctx, u, body, a.auth) }()
	}
	taken, unknown := false, false
	var failed *failure
	for range a.urls {
		if f := <-answers; f == nil {
			taken = true
		} else {
			failed, unknown = f, unknown || f.unknown
		}
	}
	if taken {
		return nil
	}
	failed.unknown = unknown
	return failed
}

// alerts are what a message is to an Alertmanager. Labels are what an alert is known by: when its severity changes, the former one ends.
func (a *alertmanager) alerts(m message, now time.Time) []alert {
	ends := func(severity string) bool {
		return m.was == own && m.before.severity != "" && m.before.severity != severity
	}
	if s := m.sum; s != nil {
		many := func(severity string, over bool) alert {
			return a.alert(map[string]string{"alertname": "MusterManyIncidents", "severity": severity, "kind": "many", "route": a.route},
				map[string]string{"summary": s.title(), "description": strings.Join(append(s.worst, "muster incident list"), "\n")}, s.since.UnixMilli(), 0, over, now)
		}
		if m.action == resolved { // nothing is left of which it could have the severity
			return []alert{many(cmp.Or(m.before.severity, s.severity), true)}
		}
		out := []alert{many(s.severity, false)}
		if ends(s.severity) {
			out = append(out, many(m.before.severity, true))
		}
		return out
	}
	i := &m.inc
	annotations := map[string]string{"summary": headline(i), "description": description(i), "revision": strconv.Itoa(int(i.Revision))}
	for name, value := range map[string]string{"runbook_url": i.Runbook, "cause": i.Cause, "acknowledged_by": i.Acked.Who} {
		if value != "" {
			annotations[name] = value
		}
	}
	out := []alert{a.alert(labels(i, i.Severity), annotations, i.Since, i.ResolvedAt, m.action == resolved, now)}
	if ends(i.Severity) {
		out = append(out, a.alert(labels(i, m.before.severity), annotations, i.Since, i.At, true, now))
	}
	return out
}

func labels(i *event.Incident, severity string) map[string]string {
	out := map[string]string{"alertname": alertName(i.Kind), "severity": severity, "kind": string(i.Kind), "incident": i.ID}
	s := i.Subject
	for name, value := range map[string]string{"cohort": s.Cohort, "region": s.Region, "gateway": s.Gateway, "rollout": s.Rollout, "metric": s.Metric, "device": s.Device} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// alertName is a kind as Prometheus' alerts are named: MusterSilentCohort.
func alertName(kind event.IncidentKind) string {
	name := "Muster"
	for part := range strings.SplitSeq(string(kind), "-") {
		if part != "" {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return name
}

// alert dates by the log's time as far as an Alertmanager can follow: nothing begins in its future, nothing ends before it began.
func (a *alertmanager) alert(labels, annotations map[string]string, since, until int64, over bool, now time.Time) alert {
	from := min(since, now.UnixMilli())
	to := now.Add(holds * a.repeat).UnixMilli()
	if over {
		if to = now.UnixMilli(); until > 0 {
			to = min(until, to)
		}
		to = max(to, from)
	}
	return alert{Labels: labels, Annotations: annotations, StartsAt: moment(from), EndsAt: moment(to)}
}
