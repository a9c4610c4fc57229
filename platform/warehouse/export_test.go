package warehouse

import "context"

// MigrateTo stops at an older version.
func MigrateTo(ctx context.Context, w *Warehouse, version int64) error {
	return w.migrate(ctx, nil, version)
}

// LookUpBy is LookupKeys in spans of step offsets.
func LookUpBy(ctx context.Context, w *Warehouse, gen, part uint16, below, step uint64, keys []Key) (map[Key]First, error) {
	return w.lookUp(ctx, gen, part, below, step, keys)
}
