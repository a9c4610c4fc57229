package follow

import (
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Place is one partition of one topic.
type Place struct {
	Topic string `json:"topic"`
	Part  int32  `json:"part"`
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Part) }

// Position is where in a partition reading goes on.
type Position struct {
	Place
	Offset int64 `json:"offset"`
}

// Fold is a detector as it is run here: what it says is a function of what it is told, in whatever order its inputs come
// beside each other. It is used by one goroutine.
type Fold interface {
	// Take tells it a record of one of its inputs; those of one input come in order. What cannot be understood is the
	// fold's to ignore; an error is a state from which it cannot go on.
	Take(rec *kgo.Record) error
	// Reached says that all records of an input below an offset were told: the end of a transaction is none.
	Reached(in Place, next int64)
	// Said gives what it has to say since the last call, in order.
	Said() ([]Output, error)
	// Next is the offset of an input's first record that is not in the state: what the fold still holds back is not.
	Next(in Place) int64
	// Clock is how far it has come, in Unix ms of event time; 0 is nowhere.
	Clock() int64
	// Heard is how far its inputs have come, as far as it was told; what lies between it and Clock waits to be judged.
	Heard() int64
	// Asks says that it wants to know where the registry's log ends now, before it goes on. It is told by Answer, when
	// it was told all records up to there.
	Asks() bool
	// Expect says what the answer will be, before all records up to there were told.
	Expect(end int64)
	Answer(end int64)
	// Snapshot writes its state, and Restore reads it into a new fold. A state of another version is an error.
	Snapshot(w io.Writer) error
	Restore(r io.Reader) error
}

// adopter is a fold whose state knows what detector it is of: it can go on as that one, until it is to be the one of now.
type adopter interface {
	Adopt() error
}

// recaller is a fold of whose outputs some hold until another ends them. One that begins with nothing, where there are outputs
// already, is told all of these, in order, and then after which instant what it says is written.
type recaller interface {
	Remember(rec *kgo.Record) error
	Recall(after int64)
}

// Output is one thing that a fold says.
type Output struct {
	N  uint64 // as the fold counts: 1, 2, 3, ... over its whole life, which snapshots are part of
	At int64  // Unix ms of event time
	// Record is what is written, under the number that the topic gives it.
	Record func(n uint64) (*kgo.Record, error)
}

// kind is what the lines of one sort have in common.
type kind struct {
	stage  string // shard, judge
	topic  string // that they write to
	inputs func(part, parts int32) []Place
	prefix func(part int32) string // of the snapshots
	// begin makes a fold that has been told nothing.
	begin func(part, parts int32) (Fold, error)
	// number reads a record's number and time.
	number func(rec *kgo.Record) (n uint64, at int64, err error)
	// registry is how far an output had read the registry's log; nil where none says so.
	registry func(rec *kgo.Record) int64
	// held is how many records one input may be read ahead of another that the fold waits for.
	held int64
	// detector names what the folds are: their version, their constants.
	detector string
}
