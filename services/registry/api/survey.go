package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"muster.dev/platform/roster"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	// surveyLife is for how long a survey is shown again: of a million devices one takes a second.
	surveyLife = 10 * time.Second
	// surveyStep is how many devices are looked at before others get their turn at the registry.
	surveyStep    = 10_000
	shownDevices  = 10
	unrecordedWay = "unrecorded"
)

// survey is one walk over all devices at a time, for as many callers as wait for it.
type survey struct {
	mu    sync.Mutex
	last  found // guarded by mu
	taken time.Time
}

// found is what a survey has counted.
type found struct {
	security v1.Security
	issuers  map[string]int // devices by the issuer of their newest certificate, without revoked ones
}

// get takes a survey, or shows one that is not old.
func (v *survey) get(ctx context.Context, a *API) (found, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if age := a.now().Sub(v.taken); age >= 0 && age < surveyLife {
		return v.last, nil
	}
	w := walk{now: a.now(), found: found{issuers: map[string]int{}}, findings: map[string]*v1.Finding{}}
	w.security.At, w.security.Enrolments = w.now.UTC().Truncate(time.Millisecond), map[string]int{}
	for last := uint32(0); ; {
		n := 0
		err := a.see(ctx, func(s *decide.State) error {
			if last == 0 {
				w.revoked = map[string]bool{}
				for _, issuer := range s.Issuers() {
					w.revoked[issuer.ID] = issuer.Revoked
				}
			}
			for d := range s.After(last) {
				if n == surveyStep {
					break
				}
				w.see(&d)
				last = d.No
				n++
			}
			return nil
		})
		if err != nil {
			return found{}, err
		}
		if n < surveyStep {
			break
		}
	}
	v.last, v.taken = w.end(), w.now
	return v.last, nil
}

// walk is a survey under way.
type walk struct {
	found
	now      time.Time
	revoked  map[string]bool // issuers
	ages     []int64
	lefts    []int64
	inTime   int
	findings map[string]*v1.Finding
}

func (w *walk) see(d *roster.Device) {
	w.security.Enrolments[cmp.Or(d.Method, unrecordedWay)]++
	if d.Revoked {
		w.security.Revoked++
		return
	}
	w.security.Devices++
	if d.Quarantined {
		w.security.Quarantined++
		w.find("quarantined", "held off and neither released nor revoked yet", d)
	}
	if len(d.Certificates) == 0 {
		return
	}
	newest := d.Certificates[0]
	w.issuers[newest.Issuer]++
	if newest.Legacy || newest.NotAfter == 0 {
		w.find("certificate-unrecorded", "enrolled before certificates were recorded: renew, so that each can be revoked by its serial", d)
		return
	}
	now := w.now.UnixMilli()
	w.ages = append(w.ages, (now-newest.NotBefore)/1000)
	w.lefts = append(w.lefts, (newest.NotAfter-now)/1000)
	switch {
	case newest.Revoked:
		w.find("certificate-revoked", "the newest certificate was revoked and no other came: enrol the device anew, or revoke it", d)
	case w.revoked[newest.Issuer]:
		w.find("issuer-revoked", "the newest certificate is of a revoked issuer: enrol the device anew", d)
	case now >= newest.NotAfter:
		w.find("certificate-ended", "the newest certificate has ended: the device cannot renew by itself; enrol it anew, or revoke it", d)
	case now >= newest.NotAfter-(newest.NotAfter-newest.NotBefore)/3:
		w.find("rotation-overdue", "in the last third of its certificate's life and not renewed yet", d)
	default:
		w.inTime++
	}
}

func (w *walk) find(name, detail string, d *roster.Device) {
	f := w.findings[name]
	if f == nil {
		f = &v1.Finding{Finding: name, Detail: detail}
		w.findings[name] = f
	}
	if f.Count++; len(f.Devices) < shownDevices {
		f.Devices = append(f.Devices, string(d.ID))
	}
}

func (w *walk) end() found {
	w.security.AgeSeconds, w.security.LeftSeconds = quantiles(w.ages), quantiles(w.lefts)
	w.security.InTime = 1
	if n := len(w.ages); n > 0 {
		w.security.InTime = float64(w.inTime) / float64(n)
	}
	w.security.Findings = []v1.Finding{}
	for _, f := range w.findings {
		w.security.Findings = append(w.security.Findings, *f)
	}
	slices.SortFunc(w.security.Findings, func(a, b v1.Finding) int { return cmp.Compare(a.Finding, b.Finding) })
	return w.found
}

// quantiles are by nearest rank. It sorts.
func quantiles(values []int64) v1.Quantiles {
	n := len(values)
	if n == 0 {
		return v1.Quantiles{}
	}
	slices.Sort(values)
	rank := func(percent int) int64 { return values[(n*percent+99)/100-1] }
	return v1.Quantiles{Count: n, Min: values[0], P50: rank(50), P90: rank(90), P99: rank(99), Max: values[n-1]}
}

func securityOperations() []operation {
	return []operation{
		on(operation{method: "GET", path: "/api/v1/security", id: "security", least: Viewer,
			about: "How well the fleet's identities are kept, and what wants somebody's hand; counted anew every 10 seconds at most"}, (*API).security),
		on(operation{method: "GET", path: "/api/v1/status", id: "status", least: Viewer, about: "What this process of the registry does"}, (*API).showStatus),
	}
}

func (a *API) security(c *call, _ *nothing) (v1.Security, error) {
	taken, err := a.survey.get(c.Context(), a)
	if err != nil {
		return v1.Security{}, err
	}
	out := taken.security
	err = a.see(c.Context(), func(s *decide.State) error {
		soon := a.now().Add(tokenWarning)
		for _, t := range s.Tokens() {
			if a.shapeToken(t).State == "valid" && t.NotAfter.Before(soon) {
				out.Findings = append(slices.Clip(out.Findings), v1.Finding{
					Finding: "token-ends", Count: 1, Detail: fmt.Sprintf("token %s of %s ends at %s: make another", t.ID, t.Name, t.NotAfter.UTC().Format(time.RFC3339)),
				})
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	said, err := a.authority.Findings(a.now())
	if err != nil {
		said = []string{err.Error()} // what keeps them from being looked at is one of them
	}
	for _, sentence := range said {
		out.Findings = append(slices.Clip(out.Findings), v1.Finding{Finding: "authority", Count: 1, Detail: sentence})
	}
	return out, nil
}

const tokenWarning = 14 * 24 * time.Hour

func (a *API) showStatus(c *call, _ *nothing) (out v1.Status, err error) {
	out = v1.Status{Role: string(a.writer.Role()), Ready: a.writer.Ready() == nil, Position: a.writer.Position()}
	err = a.see(c.Context(), func(s *decide.State) error {
		out.Devices = s.Counts().Devices
		return nil
	})
	return out, err
}
