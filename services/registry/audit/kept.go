package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Kept is a head that was kept elsewhere: the hash of what was the last event of the log.
type Kept struct {
	Head  Hash
	Event uint64 // its number; 0 is not known

	found  bool
	other  node // what stands in its place
	stands bool
}

func (k *Kept) look(at node) {
	if at.sum == k.Head {
		k.found = true
	} else if at.n == k.Event && k.Event != 0 {
		k.other, k.stands = at, true
	}
}

// maxKept bounds the heads of one file: a head an hour for eleven years.
const maxKept = 100_000

// ReadKept reads heads from what `muster audit verify --json` printed, any number of times one after another.
func ReadKept(r io.Reader) ([]*Kept, error) {
	dec := json.NewDecoder(r)
	var out []*Kept
	for {
		var was struct {
			Head string `json:"head"`
			Last *Place `json:"last"`
		}
		switch err := dec.Decode(&was); {
		case errors.Is(err, io.EOF) && len(out) > 0:
			return out, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("no head is in it: want what `muster audit verify --json` printed")
		case err != nil:
			return nil, fmt.Errorf("head %d: %w", len(out)+1, err)
		case len(out) == maxKept:
			return nil, fmt.Errorf("more than %d heads are in it", maxKept)
		}
		k := &Kept{}
		var err error
		if k.Head, err = ParseHash(was.Head); err != nil {
			return nil, fmt.Errorf("head %d: %w", len(out)+1, err)
		}
		if was.Last != nil {
			k.Event = was.Last.Event
		}
		out = append(out, k)
	}
}

// missed is the finding of a head that is not there any more.
func (v *Verifier) missed(k *Kept) {
	switch {
	case k.stands:
		v.find(Finding{Kind: Rewritten, Offset: k.other.offset, Event: k.Event,
			Expected: fmt.Sprintf("SHA-256 %s, the head that was kept", k.Head), Stands: k.other.String()})
	case k.Event > v.tip.n:
		v.find(Finding{Kind: Cut, Offset: v.tip.offset, Event: v.tip.n + 1, Until: k.Event,
			Expected: fmt.Sprintf("the log to reach event %d, of SHA-256 %s: the head that was kept", k.Event, k.Head),
			Stands:   fmt.Sprintf("event %d at offset %d is the last: %s", v.tip.n, v.tip.offset, v.tip)})
	case k.Event != 0 && v.part && k.Event < v.first.n:
		v.find(Finding{Kind: Cut, Offset: v.first.offset, Event: k.Event,
			Expected: fmt.Sprintf("event %d, of SHA-256 %s: the head that was kept", k.Event, k.Head), Stands: fmt.Sprintf("event %d is the first", v.first.n)})
	default:
		v.find(Finding{Kind: Cut, Offset: v.tip.offset,
			Expected: fmt.Sprintf("an event of SHA-256 %s, the head that was kept: it was cut from the end, or the history was written anew", k.Head),
			Stands:   fmt.Sprintf("no such event among %d; the last is %d: %s", v.events, v.tip.n, v.tip)})
	}
}
