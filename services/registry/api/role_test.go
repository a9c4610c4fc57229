package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"muster.dev/proto/event"
	"muster.dev/services/registry/api"
	"muster.dev/services/registry/client"

	v1 "muster.dev/services/registry/api/v1"
)

// leastRoles says who may do what, once more and by hand: a route that changes its role by a slip of the pen fails here.
var leastRoles = map[string]api.Role{
	"GET /api/v1/devices":                              api.Viewer,
	"POST /api/v1/devices":                             api.Operator,
	"GET /api/v1/devices/{id}":                         api.Viewer,
	"PATCH /api/v1/devices/{id}":                       api.Operator,
	"POST /api/v1/devices/{id}/revoke":                 api.Operator,
	"POST /api/v1/devices/{id}/quarantine":             api.Operator,
	"POST /api/v1/devices/{id}/release":                api.Operator,
	"POST /api/v1/devices/{id}/move":                   api.Operator,
	"POST /api/v1/devices/{id}/replacement":            api.Operator,
	"GET /api/v1/devices/{id}/acting":                  api.Viewer,
	"PUT /api/v1/devices/{id}/acting":                  api.Operator,
	"DELETE /api/v1/devices/{id}/acting":               api.Operator,
	"GET /api/v1/certificates/{serial}":                api.Viewer,
	"POST /api/v1/certificates/{serial}/revoke":        api.Operator,
	"GET /api/v1/cohorts":                              api.Viewer,
	"GET /api/v1/cohorts/{cohort}":                     api.Viewer,
	"PUT /api/v1/cohorts/{cohort}":                     api.Operator,
	"POST /api/v1/cohorts/{cohort}/members":            api.Operator,
	"POST /api/v1/cohorts/{cohort}/quarantine":         api.Operator,
	"POST /api/v1/cohorts/{cohort}/release":            api.Operator,
	"POST /api/v1/cohorts/{cohort}/revoke":             api.Admin,
	"GET /api/v1/groups":                               api.Viewer,
	"PUT /api/v1/groups/{group}":                       api.Operator,
	"POST /api/v1/groups/{group}/remove":               api.Operator,
	"GET /api/v1/regions":                              api.Viewer,
	"PUT /api/v1/regions/{region}":                     api.Admin,
	"GET /api/v1/lines":                                api.Viewer,
	"PUT /api/v1/lines/{label}":                        api.Admin,
	"GET /api/v1/passwords":                            api.Operator,
	"POST /api/v1/passwords":                           api.Operator,
	"POST /api/v1/passwords/{id}/withdraw":             api.Operator,
	"GET /api/v1/manufacturers":                        api.Viewer,
	"PUT /api/v1/manufacturers/{name}":                 api.Admin,
	"POST /api/v1/manufacturers/{name}/distrust":       api.Admin,
	"GET /api/v1/manufacturers/{name}/claims":          api.Viewer,
	"POST /api/v1/manufacturers/{name}/claims":         api.Operator,
	"GET /api/v1/manufacturers/{name}/claims/{serial}": api.Viewer,
	"POST /api/v1/manufacturers/{name}/claims/release": api.Operator,
	"GET /api/v1/tokens":                               api.Admin,
	"POST /api/v1/tokens":                              api.Admin,
	"POST /api/v1/tokens/{id}/withdraw":                api.Admin,
	"GET /api/v1/authority":                            api.Viewer,
	"POST /api/v1/authority/issuers/{issuer}/revoke":   api.Admin,
	"GET /api/v1/security":                             api.Viewer,
	"GET /api/v1/status":                               api.Viewer,
	"POST /api/v1/schemas":                             api.Operator,
	"GET /api/v1/schemas/{id}":                         api.Viewer,
	"POST /api/v1/incidents/{incident}/acknowledge":    api.Operator,
}

// suffices is the order of the roles, once more.
var suffices = map[api.Role][]api.Role{
	api.Viewer: {api.Viewer}, api.Operator: {api.Viewer, api.Operator}, api.Releaser: {api.Viewer, api.Releaser},
	api.Admin: {api.Viewer, api.Operator, api.Releaser, api.Admin},
}

func TestEveryRouteLetsInWhoseRoleSufficesAndNobodyElse(t *testing.T) {
	s := start(t)
	var document struct {
		Paths map[string]map[string]struct {
			Role string `json:"x-muster-role"`
		}
	}
	text, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	tokens := map[api.Role]string{}
	for role := range suffices {
		made, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "some-" + string(role), Role: string(role)})
		if err != nil {
			t.Fatal(err)
		}
		tokens[role] = made.Secret
	}
	before, routes := len(s.events(t)), 0
	for path, methods := range document.Paths {
		for method, operation := range methods {
			routes++
			route := strings.ToUpper(method) + " " + path
			least, known := leastRoles[route]
			if !known || operation.Role != string(least) {
				t.Errorf("%s: the document says %q, the table %q", route, operation.Role, least)
				continue
			}
			for role, token := range tokens {
				may := false
				for _, r := range suffices[role] {
					may = may || r == least
				}
				status, problem := ask(t, strings.ToUpper(method), s.base+parameters.ReplaceAllString(path, "ghost"), token, "{}")
				switch {
				case status == http.StatusUnauthorized:
					t.Errorf("%s, %s: %d", route, role, status)
				case may == (status == http.StatusForbidden):
					t.Errorf("%s, %s: %d, want let in %v", route, role, status, may)
				case !may && (!strings.Contains(problem.Detail, "needs the role "+string(least)) || !strings.Contains(problem.Detail, "some-"+string(role)+" has "+string(role))):
					t.Errorf("%s, %s: %s", route, role, problem.Detail)
				}
			}
		}
	}
	if routes != len(leastRoles) {
		t.Errorf("%d routes in the document, %d in the table", routes, len(leastRoles))
	}
	for _, e := range s.events(t)[before:] {
		if e.Body.Type() != event.TypeAttemptRefused {
			t.Errorf("an empty body changed something: %+v", e.Body)
		}
	}
}

var parameters = regexp.MustCompile(`\{[a-z]+\}`)

var because = v1.Change{Why: "a test wants it"}

// ask calls a route as the bearer of a token, and gives the status and, of a refusal, the problem.
func ask(t *testing.T, method, url, token, body string) (int, v1.Problem) {
	t.Helper()
	var in io.Reader
	if method != http.MethodGet {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var problem v1.Problem
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 400 {
		err = json.Unmarshal(data, &problem)
	}
	if err != nil {
		t.Fatalf("%s %s: %s: %v", method, url, data, err)
	}
	return res.StatusCode, problem
}

func status(err error) int {
	var problem *v1.Problem
	if errors.As(err, &problem) {
		return problem.Status
	}
	return 0
}

func TestATokenIsGoodForItsLifeAndItsNameStandsInTheLog(t *testing.T) {
	s := start(t)
	made, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "alice", Role: "operator", LifeSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Secret) < 32+len("muster_") || made.State != "valid" || time.Until(made.NotAfter) > time.Hour {
		t.Errorf("%+v", made.Token)
	}
	alice := client.New(s.base, made.Secret)
	t.Cleanup(alice.Close)
	if _, err := alice.DefineCohort(t.Context(), "pilot", v1.CohortDefinition{Change: v1.Change{Why: "first of all"}}); err != nil {
		t.Fatal(err)
	}
	events := s.events(t)
	for _, e := range events {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, made.Secret) {
			t.Errorf("the secret stands in the log: %s", text)
		}
	}
	if last := events[len(events)-1]; last.Who != "alice" || last.Why != "first of all" || last.Body.Type() != event.TypeCohortDefined {
		t.Errorf("%+v", last)
	}
	if _, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "alice", Role: "admin"}); status(err) != http.StatusConflict {
		t.Errorf("a second alice: %v", err)
	}
	if _, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "operator", Role: "admin"}); status(err) != http.StatusUnprocessableEntity {
		t.Errorf("one in the name of the configured token: %v", err)
	}
	for _, bad := range []v1.NewToken{
		{Change: because, Name: "bob", Role: "god"}, {Change: because, Name: "BOB", Role: "admin"}, {Change: because, Name: "bob", Role: "admin", LifeSeconds: -1},
		{Change: because, Name: "bob", Role: "admin", LifeSeconds: 1 << 40}, {Name: "bob", Role: "admin"},
	} {
		if _, err := s.client.MakeToken(t.Context(), bad); status(err) != http.StatusUnprocessableEntity {
			t.Errorf("%+v: %v", bad, err)
		}
	}

	if w, err := s.client.WithdrawToken(t.Context(), made.ID, "left the company"); err != nil || w.State != "withdrawn" {
		t.Fatalf("%+v, %v", w, err)
	}
	if _, err := alice.Cohorts(t.Context()); status(err) != http.StatusUnauthorized {
		t.Errorf("a withdrawn token: %v", err)
	}
	if _, err := s.client.WithdrawToken(t.Context(), "t-none", "x"); status(err) != http.StatusNotFound {
		t.Errorf("no such token: %v", err)
	}
	next, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "alice", Role: "viewer", LifeSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(t, "GET", s.base+"/api/v1/cohorts", next.Secret, ""); code != http.StatusOK {
		t.Errorf("before its end: %d", code)
	}
	s.clock.advance(time.Hour)
	if code, problem := ask(t, "GET", s.base+"/api/v1/cohorts", next.Secret, ""); code != http.StatusUnauthorized || !strings.Contains(problem.Detail, "ended") {
		t.Errorf("after its end: %d %s", code, problem.Detail)
	}
	if all, err := s.client.Tokens(t.Context()); err != nil || len(all.Tokens) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestEachRefusedAttemptIsOneEvent(t *testing.T) {
	s := start(t)
	viewer, err := s.client.MakeToken(t.Context(), v1.NewToken{Change: because, Name: "eve", Role: "viewer"})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, "POST", s.base+"/api/v1/devices/pump-1/revoke", viewer.Secret, `{"why":"because I can"}`)
	ask(t, "GET", s.base+"/api/v1/devices", "not-a-token", "")
	var attempts []event.AttemptRefused
	for deadline := time.Now().Add(patience); len(attempts) < 2 && time.Now().Before(deadline); {
		attempts = nil
		for _, e := range s.events(t) {
			if a, ok := e.Body.(event.AttemptRefused); ok {
				attempts = append(attempts, a)
			}
		}
	}
	if len(attempts) != 2 || attempts[0].Subject != "eve" || !strings.Contains(attempts[0].Reason, "revokeDevice") || attempts[1].Subject != "nobody" || attempts[1].Source == "" {
		t.Errorf("%+v", attempts)
	}
}
