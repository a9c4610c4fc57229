package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

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
	if s.World != nil {
		return namesOf(s.World)
	}
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
	as := func(name string) v1.Enrolment {
		return v1.Enrolment{Device: name, Cohort: fleetCohort, Profile: fleetProfile}
	}
	if s.World != nil {
		as = enrolmentsOf(s.World)
	}
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
	var once, waiting sync.Once
	wait := func(sentence string) { waiting.Do(func() { say(sentence) }) }
	// A small fleet is enrolled in order, so that its numbers are those of its names.
	workers := 1
	if len(missing) > orderedUpTo {
		workers = atOnce
	}
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(missing); i = next.Add(1) - 1 {
				name := missing[i]
				if err := enroll(ctx, reg, as(name), s.Dir.Identity(name), wait); err != nil && ctx.Err() == nil && usable(s.Dir.Identity(name), time.Now()) {
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
func enrollDemo(ctx context.Context, s Site, say func(sentence string)) error {
	if fresh(s.Dir.Demo(), time.Now()) {
		return nil
	}
	reg, err := s.registry()
	if err != nil {
		return err
	}
	defer reg.Close()
	if err := enroll(ctx, reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, s.Dir.Demo(), say); err != nil {
		return fmt.Errorf("enrolling the device %s: %w", demoDevice, err)
	}
	return nil
}

// enroll asks again while the registry cannot write its log, as on a machine that is busy just then, which is said: to
// repeat is safe, the registry says. Whoever has an identity that still holds does not wait, since a renewal has its next look.
func enroll(ctx context.Context, reg *client.Client, e v1.Enrolment, dir string, say func(sentence string)) error {
	ask := func() error {
		_, err := reg.EnrollInto(ctx, e, dir)
		var p *v1.Problem
		if errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && !usable(dir, time.Now()) {
			return err
		}
		return backoff.Permanent(err)
	}
	waits := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(startLimit))
	return backoff.RetryNotify(ask, backoff.WithContext(waits, ctx), func(err error, _ time.Duration) {
		say(fmt.Sprintf("enrolling %s: %v; asking again for up to %s", e.Device, err, startLimit))
	})
}
