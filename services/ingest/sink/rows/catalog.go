package rows

import "muster.dev/proto/batch"

// Catalog is what the registry's log says of names: the sink's is the roster. Answers stay what they were for ever.
type Catalog interface {
	// Profile is the columns that a profile's wide table has at a revision.
	Profile(no uint16, rev uint64) (Profile, bool)
	// Schema is the names of the metrics of a schema.
	Schema(id uint32) ([]string, bool)
}

// Profile is a wide table.
type Profile struct {
	Name    string
	Metrics []Metric
}

// Metric is a column of a wide table.
type Metric struct {
	Name  string
	Kind  batch.Kind
	Scale uint8
}
