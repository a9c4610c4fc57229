package incident

import (
	"cmp"
	"slices"

	"muster.dev/proto/event"
)

// recalled is how long what was open before, and is not seen by a detector that began with nothing, is waited for: six of these
// periods, as ever. By then a cohort has taught its baseline again.
const recalled = 10 * minute

const lostSight = "the detector lost what it knew and began anew, and has not seen it since: look whether it goes on"

// Recall tells an empty Book which incidents the log has open, by their last records, after which instant it is said what is
// new. At the first cut after that instant they are its own again: what was found again goes on as the incident that it was,
// and what is not seen is resolved with a word that says so.
func (b *Book) Recall(after int64, open []event.Incident) {
	b.after = after
	open = slices.Clone(open)
	slices.SortFunc(open, func(x, y event.Incident) int { return cmp.Compare(x.ID, y.ID) })
	for _, i := range open {
		if kindNo(i.Kind) < 0 || i.State != event.IncidentOpen || !event.IncidentID(i.ID) || len(b.recall) >= b.most() {
			continue
		}
		e := &entry{now: i, many: i.Cause == CauseMany, period: recalled, begun: i.Since, lost: true, told: told{i.At, i.Count, i.Severity, i.Cause}}
		e.now.N, e.now.Detector, e.now.Runbook = 0, "", ""
		e.worst = i.Count
		e.titled = plain(title(&i, i.Count), event.MaxTitle) != i.Title
		b.recall = append(b.recall, e)
	}
}

// most bounds what is known at once.
func (b *Book) most() int { return 2*b.s.MaxOpen*len(Kinds) + 2*len(Kinds) }

// claim makes the log's open incidents this Book's, and tells what is open and was never told: nothing was written until now.
func (b *Book) claim(at int64) (records []event.Incident) {
	if b.after == 0 || at <= b.after {
		return nil
	}
	own := map[*entry]bool{}
	for _, was := range b.recall {
		e := b.subjects[was.key()]
		switch {
		case e != nil && e.isOpen():
			delete(b.ids, e.now.ID)
			n, now := &e.now, was.now
			n.ID, n.Since, n.Revision, n.Reopened, n.Acked, n.Evidence = now.ID, now.Since, now.Revision, now.Reopened, now.Acked, now.Evidence
			if rank(now.Severity) > rank(n.Severity) {
				n.Severity = now.Severity
			}
			e.told, e.worst = was.told, max(e.worst, was.worst)
			b.ids[n.ID] = e
			own[e] = true
			continue
		case b.ids[was.now.ID] != nil || len(b.entries) >= b.most():
			continue // there cannot be two of one id
		case e != nil:
			b.drop(e)
		}
		was.quiet = at
		b.entries = append(b.entries, was)
		b.subjects[was.key()], b.ids[was.now.ID] = was, was
		b.open[kindNo(was.now.Kind)]++
		b.named += len(was.now.Devices)
		own[was] = true
	}
	for _, e := range b.entries {
		if e.isOpen() && !own[e] {
			e.now.Revision, e.now.Reopened = 0, 0
			records = append(records, b.tell(e, at))
		}
	}
	b.recall, b.after = nil, 0
	return records
}
