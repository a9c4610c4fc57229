package v1

// Change is what every change but an enrolment and a schema carries.
type Change struct {
	Why string `json:"why" minLength:"1" maxLength:"500" doc:"Why the change is made, for who reads the audit log: one line of plain text, at most 500 bytes"`
}

// Reason is why the change is made.
func (c Change) Reason() string { return c.Why }

// Reason is why the device is enrolled, if it is said.
func (e Enrolment) Reason() string { return e.Why }

// Reason is why the schema is defined, if it is said.
func (s NewSchema) Reason() string { return s.Why }
