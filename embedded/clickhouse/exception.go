package clickhouse

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Codes of ClickHouse that this package raises itself.
const (
	codeBadArguments    = 36
	codeSyntax          = 62
	codeReadonly        = 164
	codeTooManyQueries  = 202
	codeQueryRunning    = 216
	codeTooLarge        = 307
	codeColumnsMismatch = 7
	codeConstraint      = 452
	codeAccessDenied    = 497
	codeAuthentication  = 516
	codeInternal        = 1002
)

// exception is an error as ClickHouse words it.
type exception struct {
	Code    int
	Message string // with "Code: N. DB::Exception: " before it
}

func (e *exception) Error() string { return e.Message }

func exceptionf(code int, format string, args ...any) *exception {
	return &exception{code, fmt.Sprintf("Code: %d. DB::Exception: %s", code, fmt.Sprintf(format, args...))}
}

var codeInText = regexp.MustCompile(`^(?:Error: )?Code: (\d+)\. DB::`)

// parseException reads the engine's words.
func parseException(msg string) *exception {
	msg = strings.TrimPrefix(strings.TrimSpace(msg), "Error: ")
	m := codeInText.FindStringSubmatch(msg)
	if m == nil {
		return exceptionf(codeInternal, "%s (UNKNOWN_EXCEPTION)", msg)
	}
	code, err := strconv.Atoi(m[1])
	if err != nil {
		return exceptionf(codeInternal, "%s (UNKNOWN_EXCEPTION)", msg)
	}
	return &exception{code, msg}
}

// status is the HTTP status that ClickHouse's server gives to a code (exceptionCodeToHTTPStatus in its source).
func (e *exception) status() int {
	switch e.Code {
	case codeAuthentication, 194: // AUTHENTICATION_FAILED, REQUIRED_PASSWORD
		return http.StatusUnauthorized
	case 192, 193, codeAccessDenied, codeReadonly: // UNKNOWN_USER, WRONG_PASSWORD
		return http.StatusForbidden
	case 26, 27, 33, 38, 41, 72, 6, 43, 44, 53, 117, 130, 131, 69, 70, 62, 36, 7, 10, 16, 42, 47, 50, 51, 73, 80, 115, 168, 395, 456, 457, codeConstraint:
		return http.StatusBadRequest
	case 60, 46, 81, 78: // UNKNOWN_TABLE, UNKNOWN_FUNCTION, UNKNOWN_DATABASE, UNKNOWN_TYPE_OF_QUERY
		return http.StatusNotFound
	case 57: // TABLE_ALREADY_EXISTS
		return http.StatusNotAcceptable
	case 223, codeTooLarge: // QUERY_IS_TOO_LARGE, TOO_MANY_BYTES
		return http.StatusRequestEntityTooLarge
	case 48: // NOT_IMPLEMENTED
		return http.StatusNotImplemented
	case 209, 439, codeTooManyQueries: // SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK
		return http.StatusServiceUnavailable
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
