package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	v1 "muster.dev/services/registry/api/v1"
)

const (
	jsonType      = "application/json"
	documentRoute = "GET /openapi.json"
)

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

// Document describes the API as OpenAPI 3.1, made of the operations that are served and of the Go types of their bodies.
func Document() ([]byte, error) {
	const components = "#/components/schemas/"
	schemas := huma.NewMapRegistry(components, huma.DefaultSchemaNamer)
	content := func(mediaType string, t reflect.Type) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{mediaType: {Schema: schemas.Schema(t, true, t.Name())}}
	}
	problem := content(v1.ProblemType, reflect.TypeFor[v1.Problem]())
	document := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Muster, the operators' API", Version: "v1",
			Description: "The registry of a fleet: its devices, their identities, who may change them, and why each change was made. " +
				"Every change that is already so answers 200 and is not written again, so whoever got no answer asks again. " +
				"Any process of the registry answers what is read, with all that was acknowledged before it was asked; while the log does not answer, " +
				"or another process has just taken the writer's place, it may be older.",
		},
		Servers: []*huma.Server{{URL: "/", Description: "Where this document was fetched"}},
		Components: &huma.Components{
			Schemas:         schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "An operator's token"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	for _, o := range operations() {
		responses := map[string]*huma.Response{"200": {Description: "Done, or so already", Content: content(jsonType, o.answer)}}
		if o.method == http.MethodGet {
			responses["200"].Description = "What there is"
		}
		if o.creates {
			responses["201"] = &huma.Response{Description: "Made", Content: content(jsonType, o.answer)}
		}
		refusals := map[int]string{
			400: "Not a request of this kind", 401: "No token, or one that is not valid", 403: "The token's role does not suffice, or the registry forbids it",
			404: "There is none", 500: "The registry failed", 503: "Outcome unknown, or this process does not write the log now: ask again",
		}
		if o.method != http.MethodGet {
			refusals[409], refusals[422] = "The registry says otherwise", "A member is at fault; field names it"
		}
		if o.takesBody() {
			refusals[413], refusals[415] = "The body is larger than 64 KiB", "The body is not application/json"
		}
		for status, about := range refusals {
			responses[strconv.Itoa(status)] = &huma.Response{Description: about, Content: problem}
		}
		responses["503"].Headers = map[string]*huma.Param{"Retry-After": {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Seconds"}}
		described := &huma.Operation{
			Method: o.method, Path: o.path, OperationID: o.id, Summary: o.about, Responses: responses,
			Description: "Least role: " + string(o.least) + ".", Extensions: map[string]any{"x-muster-role": string(o.least)},
		}
		for _, name := range pathParameter.FindAllStringSubmatch(o.path, -1) {
			described.Parameters = append(described.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
		for _, p := range o.query {
			schema := &huma.Schema{Type: huma.TypeString}
			if p.number {
				schema.Type = huma.TypeInteger
			}
			for _, v := range p.values {
				schema.Enum = append(schema.Enum, v)
			}
			described.Parameters = append(described.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.about, Required: p.required, Schema: schema})
		}
		if o.takesBody() {
			described.RequestBody = &huma.RequestBody{Required: true, Content: content(jsonType, o.body)}
		}
		document.AddOperation(described)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describe the operators' API: %w", err)
	}
	return append(text, '\n'), nil
}

// serveDocument needs no token: what it says is in the source.
func serveDocument(text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(text) // the caller went away: nobody is left to tell
	}
}
