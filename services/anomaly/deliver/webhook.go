package deliver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// Headers of a webhook's request.
const (
	HeaderSignature = "Muster-Signature"
	HeaderDelivery  = "Muster-Delivery" // the same for the same message: a receiver that has it already answers 2xx again
)

// webhook posts one signed message a request.
type webhook struct {
	route  string
	url    string
	secret []byte
	post   *poster
	now    func() time.Time
}

func (w *Webhook) open(route string, timeout time.Duration, resolver *net.Resolver) (receiver, error) {
	to, secret := w.URL.Reveal(), w.Secret.Reveal()
	out := &webhook{route: route, url: to, secret: []byte(secret), now: time.Now}
	var err error
	if out.post, err = w.dialing(resolver).poster(timeout, secret, to); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return out, nil
}

// notice is the body.
type notice struct {
	V        int            `json:"v"`
	Action   action         `json:"action"`
	Route    string         `json:"route"`
	Incident *noticed       `json:"incident,omitempty"`
	Summary  *noticeSummary `json:"summary,omitempty"`
}

type noticed struct {
	ID             string             `json:"id"`
	State          string             `json:"state"`
	Kind           event.IncidentKind `json:"kind"`
	Severity       string             `json:"severity"`
	Title          string             `json:"title"`
	Cause          string             `json:"cause,omitempty"`
	Why            string             `json:"why,omitempty"`
	Cohort         string             `json:"cohort,omitempty"`
	Region         string             `json:"region,omitempty"`
	Gateway        string             `json:"gateway,omitempty"`
	Rollout        string             `json:"rollout,omitempty"`
	Metric         string             `json:"metric,omitempty"`
	Device         string             `json:"device,omitempty"`
	Since          string             `json:"since"`
	UpdatedAt      string             `json:"updated_at"`
	ResolvedAt     string             `json:"resolved_at,omitempty"`
	Revision       uint32             `json:"revision"`
	Reopened       uint32             `json:"reopened"`
	Count          uint32             `json:"count"`
	Devices        []string           `json:"devices,omitempty"`
	Numbers        map[string]float64 `json:"numbers,omitempty"`
	Thresholds     map[string]float64 `json:"thresholds,omitempty"`
	Runbook        string             `json:"runbook,omitempty"`
	AcknowledgedBy string             `json:"acknowledged_by,omitempty"`
	Detector       string             `json:"detector"`
}

type noticeSummary struct {
	Title    string         `json:"title"`
	Severity string         `json:"severity"`
	Open     int            `json:"open"`
	Kinds    map[string]int `json:"kinds"`
	Worst    []string       `json:"worst,omitempty"`
}

func (w *webhook) send(ctx context.Context, list []message) *failure {
	for _, m := range list {
		body, err := json.Marshal(w.notice(m))
		if err != nil {
			return &failure{text: err.Error(), err: err}
		}
		header := http.Header{}
		header.Set(HeaderSignature, sign(w.secret, w.now(), body))
		header.Set(HeaderDelivery, delivery(w.route, m))
		if f := w.post.post(ctx, w.url, body, header); f != nil {
			return f
		}
	}
	return nil
}

// delivery names a message.
func delivery(route string, m message) string {
	if m.sum != nil {
		return "many-" + route + "/" + strconv.FormatInt(m.at, 10) + "/" + string(m.action)
	}
	return m.inc.ID + "/" + strconv.Itoa(int(m.inc.Revision)) + "/" + string(m.action)
}

func (w *webhook) notice(m message) notice {
	out := notice{V: 1, Action: m.action, Route: w.route}
	if s := m.sum; s != nil {
		out.Summary = &noticeSummary{Title: s.title(), Severity: s.severity, Open: s.count, Kinds: s.kinds, Worst: s.worst}
		return out
	}
	i, s := &m.inc, m.inc.Subject
	out.Incident = &noticed{ID: i.ID, State: i.State, Kind: i.Kind, Severity: i.Severity, Title: i.Title, Cause: i.Cause, Why: i.Why,
		Cohort: s.Cohort, Region: s.Region, Gateway: s.Gateway, Rollout: s.Rollout, Metric: s.Metric, Device: s.Device,
		Since: moment(i.Since), UpdatedAt: moment(i.At), Revision: i.Revision, Reopened: i.Reopened, Count: i.Count,
		Numbers: values(i.Numbers), Thresholds: values(i.Thresholds), Runbook: i.Runbook, AcknowledgedBy: i.Acked.Who, Detector: i.Detector}
	if i.ResolvedAt != 0 {
		out.Incident.ResolvedAt = moment(i.ResolvedAt)
	}
	for _, d := range i.Devices {
		out.Incident.Devices = append(out.Incident.Devices, d.ID)
	}
	return out
}

func values(list []event.Number) map[string]float64 {
	if len(list) == 0 {
		return nil
	}
	out := map[string]float64{}
	for _, n := range list {
		out[n.Name] = float64(n.Micro) / 1e6
	}
	return out
}

// sign is the header's value: HMAC-SHA256 over the seconds, a point, and the body as it is sent.
func sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify is what a receiver does with the header: it says whether the body is from who knows the secret, and no older than
// the tolerance. It is here to be copied; docs/alerting.md has it in other languages.
func Verify(secret []byte, header string, body []byte, now time.Time, tolerance time.Duration) error {
	var at, sum string
	for part := range strings.SplitSeq(header, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "t":
			at = value
		case "v1":
			sum = value
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return fmt.Errorf("signature %.80q: want t=SECONDS,v1=HEX", header)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("signature of %v ago: want at most %v", age.Round(time.Second), tolerance)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(at + "."))
	mac.Write(body)
	if got, err := hex.DecodeString(sum); err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return fmt.Errorf("signature does not fit the body")
	}
	return nil
}
