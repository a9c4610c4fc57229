package edge

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

	"muster.dev/fleet/agent/est"
	"muster.dev/fleet/edge/uplink"
)

// keeper is the edge's identity on the disk.
type keeper struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex // over those below
	id    est.Identity
	stamp string
}

func openIdentity(dir string, log *slog.Logger) (*keeper, error) {
	k := &keeper{dir: dir, log: log}
	_, err := k.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; an operator makes one with `muster device enroll NAME --out %s`", err, dir)
	}
	return k, err
}

// read says whether there is another identity than before.
func (k *keeper) read() (changed bool, err error) {
	stamp := ""
	for _, name := range []string{est.CAFile, est.CertFile, est.KeyFile} {
		info, err := os.Stat(filepath.Join(k.dir, name))
		if err != nil {
			return false, fmt.Errorf("identity: %w", err)
		}
		stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if stamp == k.stamp {
		return false, nil
	}
	id, err := est.Load(k.dir)
	if err != nil {
		return false, err
	}
	k.id, k.stamp = id, stamp
	return true, nil
}

func (k *keeper) uplink() uplink.Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return uplink.Identity{Certificate: k.id.Certificate, Roots: k.id.Roots}
}

func (k *keeper) name() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id.Device
}

func (k *keeper) ends() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id.Certificate.Leaf.NotAfter
}

// lookEvery is how often the directory is looked at.
const lookEvery = 2 * time.Second

// watch calls use for each identity that takes the place of another.
func (k *keeper) watch(ctx context.Context, use func(uplink.Identity)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := k.read()
		switch {
		case err != nil && err.Error() != told: // half of a renewal may be written
			told = err.Error()
			k.log.Warn("the identity cannot be read; the one before stays in use", "error", err)
		case changed:
			told = ""
			k.log.Info("another identity is in use", "until", k.ends().UTC().Format(time.RFC3339))
			use(k.uplink())
		}
	}
}

// ready says why the identity is of no use.
func (k *keeper) ready() error {
	if end := k.ends(); time.Now().After(end) {
		return fmt.Errorf("the edge's certificate has ended on %s: enrol it again", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// renew renews the identity in time. The new one is found where it is written.
func (k *keeper) renew(ctx context.Context, cfg est.Config) error {
	k.mu.Lock()
	current := k.id
	k.mu.Unlock()
	est.Keep(ctx, cfg, current, func(next est.Identity) {
		k.log.Info("the edge's certificate is renewed", "until", next.Leaf().NotAfter.UTC().Format(time.RFC3339))
	}, func(err error, wait time.Duration) {
		k.log.Warn("the edge's certificate is not renewed yet", "error", err, "again_in", wait.Round(time.Second).String())
	})
	return nil
}
