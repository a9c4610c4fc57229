package sink

import (
	"errors"
	"fmt"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
)

// Config is what an operator sets.
type Config struct {
	Ops       daemon.Config    `yaml:"ops"`
	Log       eventlog.Config  `yaml:"log"`
	Warehouse warehouse.Config `yaml:"warehouse"`

	// Group is the consumer group. Its commits hold the plans: another name begins at the log's beginning, and
	// skips what the ledger holds.
	Group string `yaml:"group"`
	// SessionTimeout is how long the group waits for a member that says nothing before it moves its partitions: it is most of
	// the time in which those of a sink that was killed stand still. Heartbeats, and how long a rebalance may last, are parts
	// and multiples of it. A sink that is stopped for longer is evicted; one whose store is silent is not, for it beats.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// Linger closes a plan that is not full; it is most of the data lag at a low rate.
	Linger time.Duration `yaml:"linger"`
	// WideRows and NarrowRows close a plan when one of its tables has that many rows.
	WideRows   int `yaml:"wide_rows"`
	NarrowRows int `yaml:"narrow_rows"`
	// PlanBytes closes a plan by the size of its blocks.
	PlanBytes int64 `yaml:"plan_bytes"`
	// Buffer bounds the bytes of records and blocks held over all partitions.
	Buffer int64 `yaml:"buffer"`
	// Boots bounds how many boots of devices a partition remembers for telling duplicates, at 170 bytes each.
	Boots int `yaml:"boots"`
	// Settle is how long an insert of another owner may still be under way: more than the store's limit on the
	// time of one insert. It is waited for only when the store may have forgotten tokens.
	Settle time.Duration `yaml:"settle"`
	// CrashAt kills the process at a point of the protocol, as in `insert.acked:3`: for the torture alone.
	CrashAt string `yaml:"crash_at"`
}

// DefaultConfig is the local stack's.
func DefaultConfig() Config {
	ops := daemon.DefaultConfig()
	ops.Listen = "127.0.0.1:9103"
	return Config{
		Ops:            ops,
		Log:            eventlog.DefaultConfig(),
		Warehouse:      warehouse.DefaultConfig(),
		Group:          "muster-sink",
		SessionTimeout: 6 * time.Second, // the least that Kafka grants by default: a takeover begins with it
		Linger:         2500 * time.Millisecond,
		WideRows:       40_000,
		NarrowRows:     400_000,
		PlanBytes:      64 << 20,
		Buffer:         128 << 20,
		Boots:          250_000,
		Settle:         warehouse.MaxInsertTime + 15*time.Second,
	}
}

// MaxPartitions is how many day-partitions of one table a plan may touch: more than one message can, which has at most
// 31 days and a bit (what is older is kept by year). With fewer than that, each message of a device that was offline for
// a month would be a plan of its own, and a row of them would hold up all others: parts cost, not rows.
const MaxPartitions = 40

// maxLinger is the contract's: with it, data is to be queried after 7 s.
const maxLinger = 5 * time.Second

// maxSession keeps a dead member's partitions from standing for long.
const maxSession = time.Minute

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if err := c.Warehouse.Validate(); err != nil {
		return fmt.Errorf("warehouse.%w", err)
	}
	switch {
	case c.Group == "":
		return errors.New("group: want a name")
	case c.SessionTimeout < 100*time.Millisecond || c.SessionTimeout > maxSession:
		return fmt.Errorf("session_timeout %v: want 100ms to %v", c.SessionTimeout, maxSession)
	case c.Linger <= 0 || c.Linger > maxLinger:
		return fmt.Errorf("linger %v: want more than 0s and at most %v", c.Linger, maxLinger)
	case c.WideRows < 1 || c.NarrowRows < 1:
		return fmt.Errorf("wide_rows %d, narrow_rows %d: want at least 1", c.WideRows, c.NarrowRows)
	case c.PlanBytes < 1<<10:
		return fmt.Errorf("plan_bytes %d: want at least 1024", c.PlanBytes)
	case c.Buffer < 1<<20:
		return fmt.Errorf("buffer %d: want at least 1 MiB", c.Buffer)
	case c.Boots < 1:
		return fmt.Errorf("boots %d: want at least 1", c.Boots)
	case c.Settle < 0:
		return fmt.Errorf("settle %v: want 0s or more", c.Settle)
	}
	if _, err := parseCrash(c.CrashAt); err != nil {
		return fmt.Errorf("crash_at %w", err)
	}
	return nil
}
