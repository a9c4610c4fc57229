package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// EnrollFleet gives an identity, in the data directory, to each simulated device that has none, and a new certificate to
// each whose own is in the last third of its life. One that cannot be renewed yet, as of a device that was revoked, is said.
func (s Site) EnrollFleet(ctx context.Context, names []string, say func(sentence string)) error {
	missing := s.stale(names)
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
	var once sync.Once
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
				if err := enroll(ctx, reg, e, s.Dir.Identity(name)); err != nil && ctx.Err() == nil && usable(s.Dir.Identity(name), time.Now()) {
					once.Do(func() { say(fmt.Sprintf("renewing the certificate of %s: %v", name, err)) })
				} else if err != nil {
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
	if fresh(s.Dir.Demo(), time.Now()) {
		return nil
	}
	reg, err := s.registry()
	if err != nil {
		return err
	}
	defer reg.Close()
	if err := enroll(ctx, reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, s.Dir.Demo()); err != nil {
		return fmt.Errorf("enrolling the device %s: %w", demoDevice, err)
	}
	return nil
}

// enroll asks again while the registry cannot write its log, as on a machine that is busy just then: it says that to
// repeat is safe.
func enroll(ctx context.Context, reg *client.Client, e v1.Enrolment, dir string) error {
	for end := time.Now().Add(startLimit); ; {
		_, err := reg.EnrollInto(ctx, e, dir)
		var p *v1.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
