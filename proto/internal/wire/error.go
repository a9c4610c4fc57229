package wire

import (
	"fmt"
	"net/http"
)

// Code is the class of a refusal: who has to change what.
type Code uint8

const (
	// Malformed: the bytes are not a document of the form, or two readers could differ on it. Status 400.
	Malformed Code = iota + 1
	// TooLarge: well-formed as far as read, but beyond a limit of size or count. Status 413.
	TooLarge
	// Unprocessable: well-formed and small enough, but a field holds what it must not. Status 422.
	Unprocessable
	// UnknownVersion: a later format. A gateway refuses it (status 422); a sink keeps it in quarantine, because a
	// later release can read it.
	UnknownVersion
)

// Status is the HTTP status that tells a device of the refusal.
func (c Code) Status() int {
	switch c {
	case Malformed:
		return http.StatusBadRequest
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	default:
		return http.StatusUnprocessableEntity
	}
}

func (c Code) String() string {
	switch c {
	case Malformed:
		return "malformed"
	case TooLarge:
		return "too_large"
	case Unprocessable:
		return "unprocessable"
	case UnknownVersion:
		return "unknown_version"
	default:
		return fmt.Sprintf("code_%d", uint8(c))
	}
}

// Error refuses a whole message. Detail says what is wrong and what to do; Field names where, Limit is the bound
// that was passed (0 = none), Offset the byte of the body at which reading stopped.
type Error struct {
	Code   Code
	Field  string
	Detail string
	Limit  int64
	Offset int
}

// Error is a sentence that a device's developer can act on.
func (e *Error) Error() string {
	if e.Limit != 0 {
		return fmt.Sprintf("%s: %s (limit %d, at byte %d)", e.Field, e.Detail, e.Limit, e.Offset)
	}
	return fmt.Sprintf("%s: %s (at byte %d)", e.Field, e.Detail, e.Offset)
}
