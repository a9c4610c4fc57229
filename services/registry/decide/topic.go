package decide

import (
	"math"
	"slices"
	"time"

	"muster.dev/proto/event"
)

// DefineTopic gives a generation to a topic's id. A topic that was deleted and made again under its name has another id,
// and so another generation.
type DefineTopic struct {
	Name       string
	ID         [16]byte
	Partitions int32
}

func (c DefineTopic) decide(s *State, _ time.Time) (Outcome, error) {
	switch {
	case c.Name == "":
		return Outcome{}, invalid("name", "want the name of a topic")
	case c.ID == [16]byte{}:
		return Outcome{}, invalid("id", "topic %s has none; the log's brokers are too old", c.Name)
	case c.Partitions < 1:
		return Outcome{}, invalid("partitions", "%d: want 1 or more", c.Partitions)
	}
	if gen, ok := s.TopicGen(c.ID); ok {
		return Outcome{Gen: gen}, nil
	}
	used := s.Counts().Topics
	if used == math.MaxUint16 {
		return Outcome{}, conflict("id", "all %d generations are used", math.MaxUint16)
	}
	gen := uint16(used) + 1
	return Outcome{Gen: gen, Events: []event.Body{event.TopicDefined{
		Name: c.Name, ID: slices.Clone(c.ID[:]), Gen: gen, Partitions: c.Partitions,
	}}}, nil
}
