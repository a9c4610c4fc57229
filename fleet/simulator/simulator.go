package simulator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muster.dev/fleet/device"
)

// Settings is what code passes.
type Settings struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Fleet is a number of simulated devices. Run it once.
type Fleet struct {
	cfg      Config
	settings Settings
	metrics  *metrics
	units    []*unit
	journal  *Journal
	last     time.Duration // lastChance
}

// New reads every identity, so that a missing or foreign one stops the start and not a device.
func New(cfg Config, s Settings) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	names := cfg.Devices
	if len(names) == 0 {
		entries, err := os.ReadDir(cfg.Identities)
		if err != nil {
			return nil, fmt.Errorf("identities: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
	}
	f := &Fleet{cfg: cfg, settings: s, last: lastChance}
	for _, name := range names {
		dir := filepath.Join(cfg.Identities, name)
		id, err := device.LoadIdentity(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("device %s is not enrolled: %w", name, err)
		}
		if err != nil {
			return nil, err
		}
		if id.Device != name {
			return nil, fmt.Errorf("identity in %s is that of %s", dir, id.Device)
		}
		client, err := device.NewClient(cfg.Gateway, id)
		if err != nil {
			return nil, err
		}
		f.units = append(f.units, newUnit(f, name, dir, client))
	}
	if cfg.Journal != "" {
		var err error
		if f.journal, err = OpenJournal(cfg.Journal); err != nil {
			return nil, err
		}
	}
	f.metrics = newMetrics(s.Metrics, f)
	return f, nil
}

// Run lets the devices live until ctx ends, then gives each a last, short chance to deliver what it holds.
func (f *Fleet) Run(ctx context.Context) error {
	f.settings.Log.Info("the fleet begins", "devices", len(f.units), "seed", f.cfg.Seed, "step", f.cfg.Step, "post", f.cfg.Post)
	var wg sync.WaitGroup
	errs := make([]error, len(f.units))
	for i, u := range f.units {
		wg.Go(func() { errs[i] = u.run(ctx) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if f.journal != nil {
		err = errors.Join(err, f.journal.Close())
	}
	c := f.Counts()
	f.settings.Log.Info("the fleet ends", "stored", c.Stored, "refused", c.Refused, "dropped", c.Dropped, "waiting", c.Waiting, "retries", c.Retries, "duplicates", c.Duplicates)
	return err
}

// Counts sums what the devices' outboxes did.
func (f *Fleet) Counts() device.Counts {
	var sum device.Counts
	for _, u := range f.units {
		c := u.outbox.Counts()
		sum.Put += c.Put
		sum.Stored += c.Stored
		sum.Refused += c.Refused
		sum.Dropped += c.Dropped
		sum.Waiting += c.Waiting
		sum.Retries += c.Retries
		sum.Duplicates += c.Duplicates
	}
	return sum
}

// lastChance is how long a stopping device tries to deliver what it holds.
const lastChance = 3 * time.Second
