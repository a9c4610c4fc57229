package api

import (
	"time"

	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	tokenLife    = 90 * 24 * time.Hour
	maxTokenLife = 366 * 24 * time.Hour
	tokenPrefix  = "muster_" // so that those who look for leaked secrets know one
)

func tokenOperations() []operation {
	return []operation{
		on(operation{method: "POST", path: "/api/v1/tokens", id: "makeToken", least: Admin, creates: true,
			about: "Make an operator's token; its secret is shown this once"}, (*API).makeToken),
		on(operation{method: "GET", path: "/api/v1/tokens", id: "tokens", least: Admin, about: "Every token without its secret"}, (*API).tokens),
		on(operation{method: "POST", path: "/api/v1/tokens/{id}/withdraw", id: "withdrawToken", least: Admin, about: "End a token before its time"}, (*API).withdrawToken),
	}
}

func (a *API) makeToken(c *call, body *v1.NewToken) (out v1.TokenMade, err error) {
	if body.Name == fileOperator {
		return out, unfit("name", "%s is the bearer of the configured token: choose another, so that the audit log tells them apart", fileOperator)
	}
	end, err := a.until(body.LifeSeconds, tokenLife, maxTokenLife)
	if err != nil {
		return out, err
	}
	// A name stands in the audit log for a person or a program: two valid tokens of one name would be two hands.
	if err := a.see(c.Context(), func(s *decide.State) error {
		for _, t := range s.Tokens() {
			if t.Name == body.Name && a.shapeToken(t).State == "valid" {
				return conflicting("name", "token %s is that of %s and valid until %s: withdraw it first", t.ID, t.Name, t.NotAfter.Format(time.DateOnly))
			}
		}
		return nil
	}); err != nil {
		return out, err
	}
	var hash [32]byte
	out.ID = newID("t-")
	out.Secret, hash = newSecret(tokenPrefix)
	if _, err := a.create(c, decide.MakeToken{ID: out.ID, Name: body.Name, Role: body.Role, Hash: hash, NotAfter: end}); err != nil {
		return v1.TokenMade{}, err
	}
	out.Token, err = a.oneToken(c, out.ID)
	return out, err
}

func (a *API) tokens(c *call, _ *nothing) (v1.Tokens, error) {
	out := v1.Tokens{Tokens: []v1.Token{}}
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, t := range s.Tokens() {
			out.Tokens = append(out.Tokens, a.shapeToken(t))
		}
		return nil
	})
	return out, err
}

func (a *API) withdrawToken(c *call, _ *v1.Change) (v1.Token, error) {
	if _, err := a.tell(c, decide.WithdrawToken{ID: c.PathValue("id")}); err != nil {
		return v1.Token{}, err
	}
	return a.oneToken(c, c.PathValue("id"))
}

func (a *API) oneToken(c *call, id string) (out v1.Token, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		for _, t := range s.Tokens() {
			if t.ID == id {
				out = a.shapeToken(t)
			}
		}
		return nil
	})
	return out, err
}

func (a *API) shapeToken(t decide.Token) v1.Token {
	out := v1.Token{ID: t.ID, Name: t.Name, Role: t.Role, NotAfter: t.NotAfter.UTC(), State: "valid"}
	switch {
	case t.Withdrawn:
		out.State = "withdrawn"
	case !a.now().Before(t.NotAfter):
		out.State = "ended"
	}
	return out
}
