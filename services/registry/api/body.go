package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxBody = 64 << 10
	maxWhy  = 500 // bytes
)

// read takes one JSON value of known members from the body.
func read(r *http.Request, into any) error {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "", "want Content-Type: application/json")
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, end := decoder.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("there is something behind the JSON value")
			var large *http.MaxBytesError
			if errors.As(end, &large) {
				err = end
			}
		}
	}
	var (
		large    *http.MaxBytesError
		mistyped *json.UnmarshalTypeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case errors.As(err, &mistyped):
		return refuse(http.StatusBadRequest, strings.TrimPrefix(mistyped.Field, "Change."), fmt.Sprintf("a JSON %s does not fit", mistyped.Value))
	case errors.Is(err, io.EOF):
		return refuse(http.StatusBadRequest, "", "the body is empty; want a JSON object")
	}
	return refuse(http.StatusBadRequest, "", fmt.Sprintf("the body does not parse: %.200s", err))
}

// reason is why a change is made, as it stands in the log: one line that shows what it is, whatever shows it.
func reason(given, unset string) (string, error) {
	why := strings.TrimSpace(given)
	switch {
	case why == "" && unset != "":
		return unset, nil
	case why == "":
		return "", refuse(http.StatusUnprocessableEntity, "why", "say why: it stands in the audit log beside the change")
	case len(why) > maxWhy:
		return "", refuse(http.StatusUnprocessableEntity, "why", fmt.Sprintf("%d bytes: want at most %d", len(why), maxWhy))
	}
	for _, c := range why {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return "", refuse(http.StatusUnprocessableEntity, "why", "want one line of plain text")
		}
	}
	return why, nil
}

// number reads an unsigned parameter of the query.
func number(r *http.Request, name string, unset, limit uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > limit {
		return 0, refuse(http.StatusBadRequest, name, fmt.Sprintf("%.40q: want a number up to %d", text, limit))
	}
	return n, nil
}

func missing(field, format string, args ...any) error {
	return refuse(http.StatusNotFound, field, fmt.Sprintf(format, args...))
}

func unfit(field, format string, args ...any) error {
	return refuse(http.StatusUnprocessableEntity, field, fmt.Sprintf(format, args...))
}

func conflicting(field, format string, args ...any) error {
	return refuse(http.StatusConflict, field, fmt.Sprintf(format, args...))
}
