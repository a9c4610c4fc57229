package scenario

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a scenario's text.
type Problem struct {
	Line, Column int    // from 1
	Path         string // of the key, as cohorts[0].devices; empty is the file
	What         string // is wrong
	Limit        string // what would be right, if that can be said; may be empty
	Do           string // what to do about it
}

// String is the problem without the file's name.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d: ", p.Line, p.Column)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Limit != "" {
		b.WriteString(" (" + p.Limit + ")")
	}
	if p.Do != "" {
		b.WriteString(": " + p.Do)
	}
	return b.String()
}

// Problems is the error of Parse: all that is wrong, in order of the text.
type Problems struct {
	File string
	List []Problem
	More int // how many there are beside those listed
}

// Error lists the problems, one a line.
func (e *Problems) Error() string {
	var b strings.Builder
	for i, p := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File + ":" + p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n%s: and %d more", e.File, e.More)
	}
	return b.String()
}

// maxProblems bounds the list: who made a hundred mistakes made one of them often.
const maxProblems = 100
