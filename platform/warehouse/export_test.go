package warehouse

import "context"

// MigrateTo stops at an older version.
func MigrateTo(ctx context.Context, w *Warehouse, version int64) error {
	return w.migrate(ctx, nil, version)
}
