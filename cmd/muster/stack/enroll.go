package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/client"
)

// The simulated fleet's enrolment.
const (
	fleetCohort  = "sim"
	fleetProfile = "climate"
	demoDevice   = "demo"
	atOnce       = 8  // enrolments under way of a large fleet
	orderedUpTo  = 64 // devices
)

// simulated are the names of the simulated devices.
func (s Site) simulated() []string {
	names := make([]string, s.Devices)
	for i := range names {
		names[i] = fmt.Sprintf("sim-%04d", i+1)
	}
	return names
}

func (s Site) registry() (*client.Client, error) {
	token, err := s.Dir.Secret(SecretOperator)
	if err != nil {
		return nil, err
	}
	return client.New(s.Ports.RegistryURL(), token.Reveal()), nil
}

// EnrollFleet gives an identity, in the data directory, to each simulated device that has none.
func (s Site) EnrollFleet(ctx context.Context, names []string, say func(sentence string)) error {
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(s.Dir.Identity(name), client.CertFile)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	reg, err := s.registry()
	if err != nil {
		return err
	}
	defer reg.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var next, done atomic.Int64
	var wg sync.WaitGroup
	// A small fleet is enrolled in order, so that its numbers are those of its names.
	workers := 1
	if len(missing) > orderedUpTo {
		workers = atOnce
	}
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(missing); i = next.Add(1) - 1 {
				name := missing[i]
				e := v1.Enrolment{Device: name, Cohort: fleetCohort, Profile: fleetProfile}
				if _, err := reg.EnrollInto(ctx, e, s.Dir.Identity(name)); err != nil {
					cancel(fmt.Errorf("enrolling %s: %w", name, err))
					return
				}
				if n := done.Add(1); n%500 == 0 {
					say(fmt.Sprintf("%d of %d devices enrolled", n, len(missing)))
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	say(fmt.Sprintf("%d devices enrolled in %s", len(missing), time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// enrollDemo sees to it that there is an identity to try things with.
func enrollDemo(ctx context.Context, s Site) error {
	if _, err := os.Stat(filepath.Join(s.Dir.Demo(), client.CertFile)); err == nil {
		return nil
	}
	reg, err := s.registry()
	if err != nil {
		return err
	}
	defer reg.Close()
	if _, err := reg.EnrollInto(ctx, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, s.Dir.Demo()); err != nil {
		return fmt.Errorf("enrolling the device %s: %w", demoDevice, err)
	}
	return nil
}
