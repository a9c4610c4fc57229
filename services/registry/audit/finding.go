package audit

import (
	"fmt"
	"strings"
)

// Kind is what is wrong.
type Kind string

// The kinds.
const (
	Removed    Kind = "removed"    // events that the chain needs are not there
	Changed    Kind = "changed"    // an event is not what it was when the next one was written
	Moved      Kind = "moved"      // an event does not stand where it was written
	Repeated   Kind = "repeated"   // an event stands a second time
	Foreign    Kind = "foreign"    // a record that no event of the chain follows
	Unreadable Kind = "unreadable" // the last of the log is no event
	Cut        Kind = "cut"        // the end that was there before is not there
	Rewritten  Kind = "rewritten"  // another event stands where a kept head's stood
	Disguised  Kind = "disguised"  // the record's type is not that of its body
	Misquoted  Kind = "misquoted"  // an export says of an event what the event does not say
)

// Finding is something wrong, and where.
type Finding struct {
	Kind Kind `json:"kind"`
	// Offset is where to look in the log (-1: nowhere), Line where to look in an export (0: no export).
	Offset int64 `json:"offset"`
	Line   int   `json:"line,omitempty"`
	// Event is the number of the event, Until that of the last one if there are several; 0 is not known.
	Event    uint64 `json:"event,omitempty"`
	Until    uint64 `json:"until,omitempty"`
	Expected string `json:"expected"`
	Stands   string `json:"stands"`
	Do       string `json:"do"`
}

// does is what to do about a kind.
var does = map[Kind]string{
	Removed: "stop the registry's processes: no reader follows the log beyond this place. Verify the last export and the other replicas' copies; the one that is " +
		"whole goes back. Whoever could delete is an administrator of the broker or of its disk",
	Changed: "stop the registry's processes: no reader follows the log beyond this place. Verify the last export and the other replicas' copies; the one that is " +
		"whole says what the event was. Whoever could change it has the broker's disk",
	Moved:      "stop the registry's processes: no reader follows the log beyond this place. The last export has the order; the one who could change it has the broker's disk or made the topic anew",
	Repeated:   "every reader ignores it. Somebody who may write to the log is not the registry: look for his connection in the broker's log and change the secrets of registry and admin",
	Foreign:    "somebody who may write to the log is not the registry: look for his connection in the broker's log and change the secrets of registry and admin",
	Unreadable: "every reader ignores it. A release that is older than the registry's reads so too: verify with the registry's own release first",
	Cut:        "stop the registry's processes: it would number new events like those that are gone. Compare with the last export, which has them",
	Rewritten:  "stop the registry's processes. The log's history is not the one that was there: compare with the last export event by event",
	Disguised:  "the chain does not cover a record's type: somebody with the broker's disk changed it, and readers take the event for another. The last export has the type",
	Misquoted:  "believe the value, not the text beside it; ask who had the export",
}

// String is the finding as a person reads it.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "FINDING %s: ", f.Kind)
	switch {
	case f.Event != 0 && f.Until > f.Event:
		fmt.Fprintf(&b, "events %d to %d, ", f.Event, f.Until)
	case f.Event != 0:
		fmt.Fprintf(&b, "event %d, ", f.Event)
	}
	switch {
	case f.Line > 0 && f.Offset >= 0:
		fmt.Fprintf(&b, "line %d of the export (offset %d)", f.Line, f.Offset)
	case f.Line > 0:
		fmt.Fprintf(&b, "line %d of the export", f.Line)
	case f.Offset >= 0:
		fmt.Fprintf(&b, "offset %d", f.Offset)
	default:
		b.WriteString("behind the end")
	}
	fmt.Fprintf(&b, "\n  expected  %s\n  stands    %s\n  do        %s\n", f.Expected, f.Stands, f.Do)
	return b.String()
}
