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

	// demoInterval is how seldom the demo device is expected to speak: it does when somebody tries something, and that
	// it has said nothing since is no incident.
	demoInterval = 30 * 24 * time.Hour
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
	if s.World != nil {
		if err := s.defineCohorts(ctx, reg, say); err != nil {
			return err
		}
	}
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

// enrollDemo sees to it that there is an identity to try things with, and that nobody waits for what it says.
func enrollDemo(ctx context.Context, s Site, say func(sentence string)) error {
	reg, err := s.registry()
	if err != nil {
		return err
	}
	defer reg.Close()
	if !fresh(s.Dir.Demo(), time.Now()) {
		if err := enroll(ctx, reg, v1.Enrolment{Device: demoDevice, Cohort: demoDevice}, s.Dir.Demo(), say); err != nil {
			return fmt.Errorf("enrolling the device %s: %w", demoDevice, err)
		}
	}
	return expectSeldom(ctx, reg, demoDevice, demoInterval)
}

// expectSeldom gives a cohort an interval, unless somebody has said something of it: one that was made by an earlier
// release has none.
func expectSeldom(ctx context.Context, reg *client.Client, cohort string, interval time.Duration) error {
	known, err := reg.Cohort(ctx, cohort)
	var problem *v1.Problem
	if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
		err = nil
	}
	if err == nil && known.IntervalMS == 0 && !known.Revoked {
		_, err = reg.DefineCohort(ctx, cohort, v1.CohortDefinition{
			Change: v1.Change{Why: "it speaks when somebody tries something"}, IntervalMS: interval.Milliseconds(), Region: known.Region, Sleep: known.Sleep,
		})
	}
	if err != nil {
		return fmt.Errorf("how often devices of the cohort %s speak: %w", cohort, err)
	}
	return nil
}

// enroll asks again while the registry cannot write its log, as on a machine that is busy just then, which is said: to
// repeat is safe, the registry says. Whoever has an identity that still holds does not wait, since a renewal has its next look.
func enroll(ctx context.Context, reg *client.Client, e v1.Enrolment, dir string, say func(sentence string)) error {
	ask := func() error {
		_, err := reg.EnrollInto(ctx, e, dir)
		return err
	}
	return patiently(ctx, ask, func() bool { return !usable(dir, time.Now()) }, func(err error) {
		say(fmt.Sprintf("enrolling %s: %v; asking again for up to %s", e.Device, err, startLimit))
	})
}

// patiently asks the registry again while it cannot write its log, and whoever asks may wait.
func patiently(ctx context.Context, ask func() error, waits func() bool, say func(error)) error {
	once := func() error {
		err := ask()
		var p *v1.Problem
		if errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && waits() {
			return err
		}
		return backoff.Permanent(err)
	}
	exp := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(startLimit))
	return backoff.RetryNotify(once, backoff.WithContext(exp, ctx), func(err error, _ time.Duration) { say(err) })
}
