package api_test

import (
	"bytes"
	"flag"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"muster.dev/services/registry/api"
)

var update = flag.Bool("update", false, "write openapi.json anew")

const documentFile = "openapi.json"

func TestTheDocumentInTheRepositoryIsFreshAndServed(t *testing.T) {
	want, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(documentFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is stale: go test ./services/registry/api -run Document -update", documentFile)
	}
	s := start(t)
	res, err := http.Get(s.base + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if served, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(served, have) {
		t.Errorf("what is served is another document: %s, %v", res.Status, err)
	}
}

func TestTheDocumentIsOpenAPI(t *testing.T) {
	text, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, complaints := v.ValidateDocument(); !ok {
		for _, c := range complaints {
			t.Error(c.Message, c.Reason)
			for _, s := range c.SchemaValidationErrors {
				t.Error(s.FieldPath, s.Reason)
			}
		}
	}
}
