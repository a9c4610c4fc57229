package decide

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"muster.dev/proto/event"
)

// MaxTokens is the number of operators' tokens, ended ones too.
const MaxTokens = 10_000

// The roles of operators.
const (
	RoleViewer   = "viewer"
	RoleOperator = "operator"
	RoleReleaser = "releaser"
	RoleAdmin    = "admin"
)

// Roles is every role.
func Roles() []string { return []string{RoleViewer, RoleOperator, RoleReleaser, RoleAdmin} }

// DefineIssuer names a certificate that issues those of devices.
type DefineIssuer struct{ Certificate []byte } // DER

func (c DefineIssuer) decide(s *State, _ time.Time) (Outcome, error) {
	if err := checkAuthority("certificate", c.Certificate); err != nil {
		return Outcome{}, err
	}
	id := event.IssuerID(c.Certificate)
	if _, ok := s.Issuer(id); ok {
		return Outcome{}, nil
	}
	return Outcome{Events: []event.Body{event.IssuerDefined{Issuer: id, Certificate: slices.Clone(c.Certificate)}}}, nil
}

// RevokeIssuer ends every certificate that the issuer signed.
type RevokeIssuer struct{ Issuer string }

func (c RevokeIssuer) decide(s *State, _ time.Time) (Outcome, error) {
	issuer, ok := s.Issuer(c.Issuer)
	switch {
	case !ok:
		return Outcome{}, notFound("issuer", "there is no issuer %.80q", c.Issuer)
	case issuer.Revoked:
		return Outcome{}, nil
	}
	return Outcome{Events: []event.Body{event.IssuerRevoked{Issuer: c.Issuer}}}, nil
}

// MakeToken lets a token's bearer in as an operator of a role.
type MakeToken struct {
	ID, Name, Role string
	Hash           [32]byte // SHA-256 of the token
	NotAfter       time.Time
}

func (c MakeToken) decide(s *State, now time.Time) (Outcome, error) {
	switch {
	case !event.Name(c.ID):
		return Outcome{}, invalid("id", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.ID)
	case !event.Name(c.Name):
		return Outcome{}, invalid("name", "%.80q: want [a-z0-9][a-z0-9._-]{0,62}", c.Name)
	case !slices.Contains(Roles(), c.Role):
		return Outcome{}, invalid("role", "%.40q: want one of %s", c.Role, strings.Join(Roles(), ", "))
	case c.Hash == [32]byte{}:
		return Outcome{}, invalid("hash", "want the SHA-256 of a token")
	}
	made := Token{ID: c.ID, Name: c.Name, Role: c.Role, Hash: c.Hash, NotAfter: time.UnixMilli(c.NotAfter.UnixMilli())}
	if known, ok := s.tokens[c.ID]; ok {
		made.Withdrawn = known.Withdrawn
		if known != made {
			return Outcome{}, conflict("id", "there is another token %s", c.ID)
		}
		return Outcome{}, nil
	}
	_, again := s.bearers[c.Hash]
	switch {
	case !c.NotAfter.After(now):
		return Outcome{}, invalid("not_after", "%v: want a time to come", c.NotAfter)
	case again:
		return Outcome{}, conflict("hash", "another token is the same")
	case len(s.tokens) >= MaxTokens:
		return Outcome{}, conflict("id", "it would be one more than the limit of %d tokens", MaxTokens)
	}
	return Outcome{Events: []event.Body{event.TokenMade{ID: c.ID, Name: c.Name, Role: c.Role, Hash: slices.Clone(c.Hash[:]), NotAfter: c.NotAfter.UnixMilli()}}}, nil
}

// WithdrawToken ends a token before its time.
type WithdrawToken struct{ ID string }

func (c WithdrawToken) decide(s *State, _ time.Time) (Outcome, error) {
	t, ok := s.tokens[c.ID]
	switch {
	case !ok:
		return Outcome{}, notFound("id", "there is no token %.80q", c.ID)
	case t.Withdrawn:
		return Outcome{}, nil
	}
	return Outcome{Events: []event.Body{event.TokenWithdrawn{ID: c.ID}}}, nil
}

// NoteRefusal writes down for auditors that somebody tried what is not allowed. Its words may be an attacker's.
type NoteRefusal struct {
	What, Subject, Reason, Source string
	More                          uint64 // like it were not written since the last one
}

func (c NoteRefusal) decide(*State, time.Time) (Outcome, error) {
	if c.What == "" {
		return Outcome{}, invalid("what", "want what was tried")
	}
	return Outcome{Events: []event.Body{event.AttemptRefused{
		What: harmless(c.What), Subject: harmless(c.Subject), Reason: harmless(c.Reason), Source: harmless(c.Source), More: c.More,
	}}}, nil
}

const maxWords = 256

// harmless makes plain text of at most maxWords bytes of anything. Whoever reads the log at a terminal must see what was
// said: no C1 control moves its cursor, and nothing turns the direction of the text.
func harmless(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s[:min(len(s), 4*maxWords)])
	if len(s) <= maxWords {
		return s
	}
	s = s[:maxWords]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// NameSnapshot says that a snapshot of the state lies ready. The writer alone says so.
type NameSnapshot struct{ Taken event.SnapshotTaken }

func (c NameSnapshot) decide(s *State, _ time.Time) (Outcome, error) {
	if c.Taken.Event <= s.Snapshot().Event || c.Taken.Event > s.Last() {
		return Outcome{}, conflict("n", "a snapshot of event %d after one of event %d", c.Taken.Event, s.Snapshot().Event)
	}
	return Outcome{Events: []event.Body{c.Taken}}, nil
}
