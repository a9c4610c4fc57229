package api

import "muster.dev/services/registry/decide"

// Role is what the bearer of a token may do.
type Role string

// The roles. An operator may what a viewer may, an admin what anybody may; a releaser is a viewer who may release
// firmware as well.
const (
	Viewer   Role = decide.RoleViewer
	Operator Role = decide.RoleOperator
	Releaser Role = decide.RoleReleaser
	Admin    Role = decide.RoleAdmin
)

// May says whether r suffices where least is asked for.
func (r Role) May(least Role) bool {
	switch r {
	case Admin:
		return true
	case Viewer, Operator, Releaser:
		return least == r || least == Viewer
	}
	return false
}
