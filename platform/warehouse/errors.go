package warehouse

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Class says what to do about an error.
type Class uint8

const (
	// InDoubt: rows may have landed, wholly, in part, or may land within
	// MaxInsertTime. Verify, then send the identical block under the same
	// token.
	InDoubt Class = iota
	// Transient: nothing landed; the same again may succeed.
	Transient
	// Permanent: nothing landed, and the same again fails again. A schema
	// that differs from what the caller took it for is of this class.
	Permanent
)

// String is the class's name, as metrics label it.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Permanent:
		return "permanent"
	default:
		return "in_doubt"
	}
}

// Error is a failure of the engine or of the way to it.
type Error struct {
	// Code is ClickHouse's, 0 when no answer came.
	Code int
	// Class says what to do.
	Class Class
	// Message is the engine's, cut to a line.
	Message string

	err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("clickhouse (%s): %s", e.Class, e.Message)
	}
	return fmt.Sprintf("clickhouse error %d (%s): %s", e.Code, e.Class, e.Message)
}

// Unwrap gives the cause, such as a context's end.
func (e *Error) Unwrap() error { return e.err }

// IsPermanent says whether trying again is of no use.
func IsPermanent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Class == Permanent
}

// IsInDoubt says whether rows may have landed: true for every error that this
// package did not class otherwise.
func IsInDoubt(err error) bool {
	var e *Error
	return err != nil && (!errors.As(err, &e) || e.Class == InDoubt)
}

// ClickHouse's codes that this package tells apart.
const (
	codeUnknownDatabase = 81
	codeUnknownTable    = 60
	codeTooManyParts    = 252
	codeTooManyQueries  = 202
	codeAuthentication  = 516
	codeAccessDenied    = 497
	codeReadonly        = 164
)

// permanent are the codes that the engine raises before it writes a row and
// that the same bytes raise again.
var permanent = map[int]bool{
	6:                  true, // CANNOT_PARSE_TEXT
	10:                 true, // NOT_FOUND_COLUMN_IN_BLOCK
	16:                 true, // NO_SUCH_COLUMN_IN_TABLE
	20:                 true, // NUMBER_OF_COLUMNS_DOESNT_MATCH
	27:                 true, // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	36:                 true, // BAD_ARGUMENTS
	44:                 true, // ILLEGAL_COLUMN
	46:                 true, // UNKNOWN_FUNCTION
	47:                 true, // UNKNOWN_IDENTIFIER
	50:                 true, // UNKNOWN_TYPE
	53:                 true, // TYPE_MISMATCH
	57:                 true, // TABLE_ALREADY_EXISTS
	60:                 true, // UNKNOWN_TABLE
	62:                 true, // SYNTAX_ERROR
	69:                 true, // ARGUMENT_OUT_OF_BOUND
	70:                 true, // CANNOT_CONVERT_TYPE
	81:                 true, // UNKNOWN_DATABASE
	115:                true, // UNKNOWN_SETTING
	117:                true, // INCORRECT_DATA
	codeReadonly:       true,
	349:                true, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
	407:                true, // DECIMAL_OVERFLOW
	codeAccessDenied:   true,
	codeAuthentication: true,
	691:                true, // UNKNOWN_ELEMENT_OF_ENUM
}

// newError classes an answer of the engine.
func newError(code int, message string) *Error {
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	if len(message) > 1000 {
		message = message[:1000]
	}
	e := &Error{Code: code, Message: message}
	switch {
	case permanent[code]:
		e.Class = Permanent
	case code == codeTooManyParts && strings.Contains(message, "single INSERT block"):
		e.Class = Permanent
	case code == codeTooManyParts, code == codeTooManyQueries:
		e.Class = Transient
	}
	return e
}

// classify turns an error of clickhouse-go into ours.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var ex *clickhouse.Exception
	if errors.As(err, &ex) {
		e := newError(int(ex.Code), ex.Message)
		e.err = err
		return e
	}
	if code, message, ok := parseException(err.Error()); ok {
		e := newError(code, message)
		e.err = err
		return e
	}
	return err
}

// parseException finds "Code: N. DB::Exception: …" in a text: clickhouse-go
// gives HTTP answers as text.
func parseException(s string) (code int, message string, ok bool) {
	i := strings.Index(s, "Code: ")
	if i < 0 || !strings.Contains(s[i:], "Exception") {
		return 0, "", false
	}
	if _, err := fmt.Sscanf(s[i:], "Code: %d", &code); err != nil {
		return 0, "", false
	}
	return code, s[i:], true
}
