package decide

import "fmt"

// Kind is the class of a refusal.
type RefusalKind uint8

const (
	Invalid   RefusalKind = iota // the command can never be done as it is
	Conflict                     // the registry says otherwise
	NotFound                     // what it is about does not exist
	Forbidden                    // who asks may not
)

// Refusal says why a command makes no event.
type Refusal struct {
	Kind   RefusalKind
	Field  string
	Detail string
}

func (r *Refusal) Error() string { return r.Field + ": " + r.Detail }

func invalid(field, format string, args ...any) *Refusal {
	return &Refusal{Invalid, field, fmt.Sprintf(format, args...)}
}

func conflict(field, format string, args ...any) *Refusal {
	return &Refusal{Conflict, field, fmt.Sprintf(format, args...)}
}

func notFound(field, format string, args ...any) *Refusal {
	return &Refusal{NotFound, field, fmt.Sprintf(format, args...)}
}

func forbidden(field, format string, args ...any) *Refusal {
	return &Refusal{Forbidden, field, fmt.Sprintf(format, args...)}
}
