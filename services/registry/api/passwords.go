package api

import (
	"cmp"
	"time"

	"muster.dev/proto/identity"
	"muster.dev/services/registry/decide"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	passwordLife    = 7 * 24 * time.Hour
	maxPasswordLife = 365 * 24 * time.Hour
	shownPasswords  = 1000
)

func passwordOperations() []operation {
	return []operation{
		on(operation{method: "POST", path: "/api/v1/passwords", id: "makePassword", least: Operator, creates: true,
			about: "Make a one-time password by which a device enrols itself; its secret is shown this once"}, (*API).makePassword),
		on(operation{method: "GET", path: "/api/v1/passwords", id: "passwords", least: Operator, query: []parameter{
			{name: "after", about: "Only those whose ids come after this one"},
			{name: "state", about: "Only those in a state", values: []string{"usable", "used", "ended", "withdrawn"}},
		}, about: "One-time passwords without their secrets, at most 1,000"}, (*API).passwords),
		on(operation{method: "POST", path: "/api/v1/passwords/{id}/withdraw", id: "withdrawPassword", least: Operator,
			about: "End a password before its time; what enrolled by it stays"}, (*API).withdrawPassword),
	}
}

func (a *API) makePassword(c *call, body *v1.NewPassword) (out v1.PasswordMade, err error) {
	end, err := a.until(body.LifeSeconds, passwordLife, maxPasswordLife)
	if err != nil {
		return out, err
	}
	var hash [32]byte
	out.ID = newID("p-")
	out.Secret, hash = newSecret("")
	if _, err := a.create(c, decide.MakePassword{
		ID: out.ID, Hash: hash, Label: body.Label, Device: identity.Device(body.Device), Prefix: body.Prefix,
		NotAfter: end, Uses: cmp.Or(body.Uses, 1),
	}); err != nil {
		return v1.PasswordMade{}, err
	}
	out.Password, err = a.password(c, out.ID)
	return out, err
}

func (a *API) passwords(c *call, _ *nothing) (v1.Passwords, error) {
	out := v1.Passwords{Passwords: []v1.Password{}}
	after, state := c.URL.Query().Get("after"), c.URL.Query().Get("state")
	err := a.see(c.Context(), func(s *decide.State) error {
		for _, p := range s.Passwords() {
			shown := a.shapePassword(p)
			if p.ID > after && (state == "" || shown.State == state) && len(out.Passwords) < shownPasswords {
				out.Passwords = append(out.Passwords, shown)
			}
		}
		return nil
	})
	return out, err
}

func (a *API) withdrawPassword(c *call, _ *v1.Change) (v1.Password, error) {
	if _, err := a.tell(c, decide.WithdrawPassword{ID: c.PathValue("id")}); err != nil {
		return v1.Password{}, err
	}
	return a.password(c, c.PathValue("id"))
}

func (a *API) password(c *call, id string) (out v1.Password, err error) {
	err = a.see(c.Context(), func(s *decide.State) error {
		p, _ := s.Password(id)
		out = a.shapePassword(p)
		return nil
	})
	return out, err
}

func (a *API) shapePassword(p decide.Password) v1.Password {
	out := v1.Password{
		ID: p.ID, Label: p.Label, Device: string(p.Device), Prefix: p.Prefix, NotAfter: p.NotAfter.UTC(), Uses: p.Uses, Used: p.Used, State: "usable",
	}
	switch {
	case p.Withdrawn:
		out.State = "withdrawn"
	case p.Used >= p.Uses:
		out.State = "used"
	case !a.now().Before(p.NotAfter):
		out.State = "ended"
	}
	return out
}
