package incident

import "muster.dev/proto/event"

// Signal is what a detector says of one cause at one instant. Kind and subject make it the same incident as the signal
// before: a detector repeats its signal each period while the cause lasts, and says Over when it has ended.
//
// All times are Unix milliseconds of event time.
type Signal struct {
	Kind     event.IncidentKind
	Cause    string // the likely one, of those below; it may change while the incident lasts
	Severity string // critical, warning or info; empty: what Severity gives for kind and cause
	Subject  event.Subject

	Since    int64 // when it began
	At       int64 // of this signal: the end of the slot, tick or bucket that it was judged at
	Evidence int64 // its evidence begins here; 0: at Since
	Period   int64 // length of a slot, for damping; 0: there is none, Over closes at once

	Over bool // nothing of it is seen at At
	Now  bool // with Over: close without damping, for a reason that does not come back (Why says it)

	Devices    []event.Member // affected: added to those named before; all of them if there are Count of them
	All        bool           // Devices are all that there is to name: who is not among them is affected no longer
	Back       []uint32       // numbers of those that are no longer affected
	Count      uint32         // of devices affected now, also those not named; 0: as many as are named
	Numbers    []event.Number // behind the verdict
	Thresholds []event.Number // that they were held against
	Title      string         // empty: made of kind, cause, subject and count
	Why        string         // a sentence
}
