package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/snapshot"
)

// Epoch is a stretch of a line's outputs that one detector said, with nothing missing that it read: within it, what was said
// can be said again. A new one begins when the detector is another than that of the last output (a new version, other
// constants, or an operator's word in the configuration), or when the log no longer holds what comes after the state. Its
// numbers go on from those of the one before. It begins with the state of the one before where that can be read, else with
// what the log holds. What it has to say about the time up to the end of that one is not written, since it was judged already.
type Epoch struct {
	Detector string     `json:"detector"`
	First    uint64     `json:"first"` // number of its first output
	After    int64      `json:"after"` // Unix ms: what is said of the time up to here is not written
	From     []Position `json:"from"`  // where its reading began, if it began with nothing
}

// headerEpoch is on each output: the tag of its epoch.
const headerEpoch = "epoch"

func (e Epoch) tag() string { return e.Detector + "/" + strconv.FormatUint(e.First, 10) }

// Taken is a snapshot of a line that can be restored.
type Taken struct {
	Epoch string       `json:"epoch"` // tag
	N     uint64       `json:"n"`     // the state is that after the output of this number
	Own   uint64       `json:"own"`   // the same output as the fold counts
	Clock int64        `json:"clock"` // Unix ms of event time
	Next  []Position   `json:"next"`  // where reading goes on
	Ref   snapshot.Ref `json:"ref"`
}

// Head is what a line's owner says of its epochs and snapshots, the oldest first. It lies beside the snapshots, and is written
// in transactions of the line's writer: one who is no owner any more cannot.
type Head struct {
	Epochs    []Epoch `json:"epochs"`
	Snapshots []Taken `json:"snapshots"`
}

// Bounds of a head: what a reader takes at most, and a writer keeps.
const (
	maxHead    = 1 << 20
	maxEpochs  = 16
	maxKept    = 64
	wholeStart = math.MinInt64 // After of a first epoch
)

func (h Head) encode() ([]byte, error) {
	p, err := json.Marshal(h)
	if err == nil && len(p) > maxHead {
		err = fmt.Errorf("%d bytes, the limit is %d", len(p), maxHead)
	}
	if err != nil {
		return nil, fmt.Errorf("write a head of snapshots: %w", err)
	}
	return p, nil
}

// DecodeHead reads a head.
func DecodeHead(p []byte) (Head, error) {
	var h Head
	if len(p) > maxHead {
		return h, fmt.Errorf("a head of snapshots: %d bytes, the limit is %d", len(p), maxHead)
	}
	if err := json.Unmarshal(p, &h); err != nil {
		return Head{}, fmt.Errorf("a head of snapshots: %w", err)
	}
	for _, t := range h.Snapshots {
		if t.Ref.Start < 0 || t.Ref.Chunks == 0 || len(t.Ref.Sum) != 32 || t.Own > t.N {
			return Head{}, errors.New("a head of snapshots: a snapshot that cannot be")
		}
	}
	return h, nil
}

func (h Head) epoch(tag string) (Epoch, bool) {
	for _, e := range slices.Backward(h.Epochs) {
		if e.tag() == tag {
			return e, true
		}
	}
	return Epoch{}, false
}

// with is the head with an epoch more.
func (h Head) with(e Epoch) Head {
	h.Epochs = append(slices.Clone(h.Epochs), e)
	h.Epochs = h.Epochs[max(0, len(h.Epochs)-maxEpochs):]
	return h
}

// before says whether a snapshot is from before the evidence: its positions must not be ahead of that. Of what the evidence
// says nothing, the time decides. The registry's log decides nothing: what it says is folded by time.
func (t Taken) before(evidence []Position, since int64) bool {
	named := false
	for _, p := range t.Next {
		for _, e := range evidence {
			if e.Place != p.Place || e.Place == registryLog {
				continue
			}
			named = true
			if p.Offset > e.Offset {
				return false
			}
		}
	}
	return named || t.Clock <= since
}

// Before gives the newest snapshot from which what an incident was judged by can be read again: none of its evidence lies
// before the positions of the snapshot.
func (h Head) Before(evidence []Position, since int64) (Taken, bool) {
	for _, t := range slices.Backward(h.Snapshots) {
		if t.before(evidence, since) {
			return t, true
		}
	}
	return Taken{}, false
}

// thin gives the head without the snapshots that nobody needs, and these. Kept are the newest two, those that incidents need,
// and of the rest one for each doubling of the age: an incident that is yet to be opened may have begun long ago.
func (h Head) thin(needed func(Taken) bool) (Head, []snapshot.Ref) {
	if len(h.Snapshots) == 0 {
		return h, nil
	}
	newest := h.Snapshots[len(h.Snapshots)-1]
	var kept []Taken
	var gone []snapshot.Ref
	for i, t := range slices.Backward(h.Snapshots) {
		// The oldest of a rung stays: with time it moves to the next one.
		alone := i == 0 || rung(newest, h.Snapshots[i-1]) != rung(newest, t)
		if i >= len(h.Snapshots)-2 || alone || needed(t) {
			kept = append(kept, t)
			continue
		}
		gone = append(gone, t.Ref)
	}
	slices.Reverse(kept)
	for len(kept) > maxKept { // the oldest go, needed or not
		gone = append(gone, kept[0].Ref)
		kept = kept[1:]
	}
	h.Snapshots = kept
	return h, gone
}

// rung is the doubling of the age, from five minutes on, that a snapshot is in.
func rung(newest, t Taken) int {
	return bits.Len64(uint64(max(0, newest.Clock-t.Clock)) / (5 * 60 * 1000))
}

// tagOf is the epoch of an output.
func tagOf(rec *kgo.Record) string {
	for _, h := range rec.Headers {
		if h.Key == headerEpoch {
			return string(h.Value)
		}
	}
	return ""
}
