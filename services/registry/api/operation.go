package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"muster.dev/services/registry/decide"
)

// operation is one way of calling the API. The routes that are served and the document that describes them are both
// made of these.
type operation struct {
	method, path string
	id           string // in the document
	about        string
	least        Role
	query        []parameter
	why          string // what stands in the log when the body gives none; empty: the body must
	creates      bool   // may answer 201
	body, answer reflect.Type
	handle       func(*API, *call) (any, error)
}

// parameter is one of the query.
type parameter struct {
	name, about string
	number      bool
	required    bool
	values      []string // those that there are; nil is any
}

// call is one request on its way through an operation.
type call struct {
	*http.Request
	caller caller
	why    string
	status int // of a success
}

// nothing is the body of what takes none.
type nothing struct{}

// reasoned is a body that says why; it must, unless its operation has a reason of its own.
type reasoned interface{ Reason() string }

// on makes an operation of a function from one body to another.
func on[B, A any](o operation, do func(*API, *call, *B) (A, error)) operation {
	o.body, o.answer = reflect.TypeFor[B](), reflect.TypeFor[A]()
	o.handle = func(a *API, c *call) (any, error) {
		if err := o.checkQuery(c.URL.Query()); err != nil {
			return nil, err
		}
		body := new(B)
		if o.takesBody() {
			if err := read(c.Request, body); err != nil {
				return nil, err
			}
			c.why = o.why
			if given, ok := any(body).(reasoned); ok {
				why, err := reason(given.Reason(), o.why)
				if err != nil {
					return nil, err
				}
				c.why = why
			}
		}
		return do(a, c, body)
	}
	return o
}

// checkQuery refuses a parameter whose value is none of those that there are.
func (o operation) checkQuery(query url.Values) error {
	for _, p := range o.query {
		if given := query.Get(p.name); given != "" && p.values != nil && !slices.Contains(p.values, given) {
			return refuse(http.StatusBadRequest, p.name, fmt.Sprintf("%.80q: want one of %s", given, strings.Join(p.values, ", ")))
		}
	}
	return nil
}

func (o operation) route() string   { return o.method + " " + o.path }
func (o operation) takesBody() bool { return o.body != reflect.TypeFor[nothing]() }

// tell has the registry decide a command in the caller's name.
func (a *API) tell(c *call, command decide.Command) (decide.Outcome, error) {
	return a.writer.Do(c.Context(), c.caller.name, c.why, command)
}

// create is tell for what answers 201 when there is something new, and 200 when all of it was there.
func (a *API) create(c *call, command decide.Command) (decide.Outcome, error) {
	outcome, err := a.tell(c, command)
	if len(outcome.Events) > 0 {
		c.status = http.StatusCreated
	}
	return outcome, err
}

// see shows fn the registry as its log has it.
func (a *API) see(ctx context.Context, fn func(*decide.State) error) error {
	var refused error
	if err := a.writer.View(ctx, func(s *decide.State) { refused = fn(s) }); err != nil {
		return err
	}
	return refused
}
