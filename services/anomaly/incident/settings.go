package incident

import (
	"fmt"

	"muster.dev/proto/event"
)

// Settings is what code passes to NewBook. They are constants of the detector: other ones give other incidents.
type Settings struct {
	Runbooks     string // before a page's name: a URL that ends in a slash, or a folder of the repository
	Quiet        int64  // periods without the cause after which an incident is resolved
	Again        int64  // periods after that in which the same incident opens again
	MaxOpen      int    // open incidents of one kind; the rest are one incident more
	MaxNamed     int    // devices that all open incidents name together
	MaxRevisions uint32 // records of one incident, but for its end and its acknowledgement
}

// DefaultSettings are those that were measured (docs/incidents.md).
func DefaultSettings() Settings {
	return Settings{Runbooks: "docs/runbooks/", Quiet: 6, Again: 12, MaxOpen: 500, MaxNamed: 100_000, MaxRevisions: 100}
}

// Validate names the setting that cannot be.
func (s Settings) Validate() error {
	for _, n := range []struct {
		name        string
		value, most int64
	}{
		{"quiet", s.Quiet, 1_000}, {"again", s.Again, 10_000}, {"max_open", int64(s.MaxOpen), 10_000},
		{"max_named", int64(s.MaxNamed), 10_000_000}, {"max_revisions", int64(s.MaxRevisions), 10_000},
	} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("incidents.%s is %d: it must be 1 to %d", n.name, n.value, n.most)
		}
	}
	if len(s.Runbooks) > 512 || plain(s.Runbooks, 512) != s.Runbooks {
		return fmt.Errorf("incidents.runbooks %.80q: want a URL or a folder, of at most 512 bytes and without control characters", s.Runbooks)
	}
	return nil
}

// few devices an incident may name whatever the others name.
const few = 20

// minute is the least time between two updates of an incident without a period.
const minute = 60_000

// remembered is how long a resolved incident is known at least, so that the next of its subject does not take its id.
const remembered = 60 * minute

// comesAgain is within how long after its end an incident is the same one again, at least; and for how long nothing of one
// without a period that came again is to be seen.
const comesAgain = 15 * minute

func kindNo(kind event.IncidentKind) int {
	for i, k := range Kinds {
		if k == kind {
			return i
		}
	}
	return -1
}
