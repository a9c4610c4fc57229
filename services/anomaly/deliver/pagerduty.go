package deliver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// pagerDuty speaks Events API v2. What an alert is known by there is the incident's id.
type pagerDuty struct {
	route string
	url   string
	key   string
	post  *poster
}

func (p *PagerDuty) open(route string, timeout time.Duration, resolver *net.Resolver) (receiver, error) {
	key := p.RoutingKey.Reveal()
	out := &pagerDuty{route: route, url: cmp.Or(p.URL, defaultEndpoint), key: key}
	var err error
	if out.post, err = p.dialing(resolver).poster(timeout, key); err != nil {
		return nil, fmt.Errorf("pagerduty: %w", err)
	}
	return out, nil
}

// page is an event of the API.
type page struct {
	RoutingKey string       `json:"routing_key"`
	Action     string       `json:"event_action"` // trigger, acknowledge, resolve
	Key        string       `json:"dedup_key"`
	Payload    *pagePayload `json:"payload,omitempty"`
	Links      []pageLink   `json:"links,omitempty"`
	Client     string       `json:"client,omitempty"`
}

type pagePayload struct {
	Summary   string         `json:"summary"` // at most 1,024 characters
	Source    string         `json:"source"`
	Severity  string         `json:"severity"` // critical, warning, info
	Timestamp string         `json:"timestamp,omitempty"`
	Component string         `json:"component,omitempty"`
	Group     string         `json:"group,omitempty"`
	Class     string         `json:"class,omitempty"`
	Details   map[string]any `json:"custom_details,omitempty"`
}

type pageLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

func (p *pagerDuty) send(ctx context.Context, list []message) *failure {
	for _, m := range list {
		body, err := json.Marshal(p.page(m))
		if err != nil {
			return &failure{text: err.Error(), err: err}
		}
		if f := p.post.post(ctx, p.url, body, nil); f != nil {
			return f
		}
	}
	return nil
}

func (p *pagerDuty) page(m message) page {
	out := page{RoutingKey: p.key, Action: "trigger", Client: "muster"}
	switch m.action {
	case resolved:
		out.Action = "resolve"
	case acknowledged:
		out.Action = "acknowledge"
	}
	if m.sum != nil {
		out.Key = "many-" + p.route
		if out.Action == "trigger" {
			out.Payload = &pagePayload{Summary: m.sum.title(), Source: "muster", Severity: m.sum.severity, Class: "many", Timestamp: moment(m.sum.since.UnixMilli()),
				Details: map[string]any{"count": m.sum.count, "kinds": m.sum.kinds, "worst": m.sum.worst, "look": "muster incident list"}}
		}
		return out
	}
	i := &m.inc
	out.Key = i.ID
	if out.Action != "trigger" {
		return out
	}
	out.Payload = &pagePayload{Summary: headline(i), Source: cmp.Or(subject(i), "muster"), Severity: i.Severity, Timestamp: moment(i.Since),
		Component: i.Subject.Cohort, Group: i.Subject.Region, Class: string(i.Kind), Details: details(i)}
	if strings.HasPrefix(i.Runbook, "https://") || strings.HasPrefix(i.Runbook, "http://") {
		out.Links = []pageLink{{Href: i.Runbook, Text: "Runbook"}}
	}
	return out
}

func details(i *event.Incident) map[string]any {
	return map[string]any{"incident": i.ID, "cause": i.Cause, "why": i.Why, "devices": i.Count, "first": strings.TrimPrefix(devices(i), ": "),
		"numbers": figures(i.Numbers), "thresholds": figures(i.Thresholds), "revision": i.Revision, "detector": i.Detector, "runbook": i.Runbook,
		"look": "muster incident show " + i.ID}
}
