package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"muster.dev/platform/warehouse"
)

// MigrationConfig is what an operator sets for a migration.
type MigrationConfig struct {
	Warehouse warehouse.Config `yaml:"warehouse"`
	// Wait is how long the engine may take to answer.
	Wait time.Duration `yaml:"wait"`
}

// DefaultMigrationConfig is the local stack's.
func DefaultMigrationConfig() MigrationConfig {
	return MigrationConfig{Warehouse: warehouse.DefaultConfig(), Wait: 2 * time.Minute}
}

// Validate names the first key that cannot be used.
func (c MigrationConfig) Validate() error {
	if c.Wait <= 0 {
		return fmt.Errorf("wait %v: want more than 0s", c.Wait)
	}
	return c.Warehouse.Validate()
}

// Migrate waits for the engine and brings the database to this program's schema. say is told what is done, a line at
// a time. It may be repeated, and be under way twice.
func Migrate(ctx context.Context, cfg MigrationConfig, say func(line string)) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	store, err := warehouse.Open(cfg.Warehouse)
	if err != nil {
		return err
	}
	defer store.Close()
	exp := backoff.NewExponentialBackOff()
	exp.InitialInterval, exp.MaxInterval = 200*time.Millisecond, 3*time.Second
	exp.MaxElapsedTime = cfg.Wait // one shot: whoever started it is told when the engine does not come
	ping := func() error {
		err := store.Ping(ctx)
		if warehouse.IsPermanent(err) {
			return backoff.Permanent(err)
		}
		return err
	}
	err = backoff.RetryNotify(ping, backoff.WithContext(exp, ctx), func(err error, wait time.Duration) {
		say(fmt.Sprintf("waiting for ClickHouse at %s: %v", cfg.Warehouse.Addr, err))
	})
	if err != nil {
		return fmt.Errorf("ClickHouse at %s did not answer within %v: %w", cfg.Warehouse.Addr, cfg.Wait, err)
	}
	if err := store.Migrate(ctx, say); err != nil {
		return err
	}
	version, err := store.Version(ctx)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("the schema of database %s is at version %d", cfg.Warehouse.Database, version))
	return nil
}
