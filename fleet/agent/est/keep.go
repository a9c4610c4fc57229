package est

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Pauses between attempts: doubling from the first to the last. A refusal is asked again too, an hour later at the
// earliest: an operator may have changed the device's standing.
const (
	firstPause   = 5 * time.Second
	lastPause    = 6 * time.Hour
	refusedPause = time.Hour
	look         = 10 * time.Minute
)

// Patiently does attempt until it works, until it is refused, or until ctx ends. said hears of each failure, and how long
// is waited.
func Patiently(ctx context.Context, attempt func(context.Context) error, said func(error, time.Duration)) error {
	p := pauses()
	for {
		err := attempt(ctx)
		var refused *Refused
		if err == nil || errors.As(err, &refused) {
			return err
		}
		if !p.wait(ctx, err, said) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// Keep renews the identity whenever it is due, until ctx ends. renewed is given each new identity, which is on the disk.
func Keep(ctx context.Context, c Config, current Identity, renewed func(Identity), said func(error, time.Duration)) {
	p := pauses()
	for {
		// In steps, so that a clock that is set meanwhile is seen.
		for left := time.Until(current.Due()); left > 0; left = time.Until(current.Due()) {
			if !sleep(ctx, min(left, look)) {
				return
			}
		}
		next, err := Renew(ctx, c)
		if err == nil {
			current = next
			renewed(next)
			p.Reset()
			continue
		}
		if !p.wait(ctx, err, said) {
			return
		}
	}
}

type pause struct{ *backoff.ExponentialBackOff }

func pauses() pause {
	return pause{backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(lastPause), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0), // the jitter is ours, so that no wait is longer than lastPause
		backoff.WithMaxElapsedTime(0),      // a certificate that ends is worse than one more request: ctx ends it
	)}
}

// wait waits as long as the failure wants, and says whether to go on.
func (p pause) wait(ctx context.Context, err error, said func(error, time.Duration)) bool {
	d := p.NextBackOff()
	d = d/2 + rand.N(d/2+1)
	var later *Later
	var refused *Refused
	if errors.As(err, &later) {
		d = max(d, later.After)
	}
	if errors.As(err, &refused) {
		d = max(d, refusedPause)
	}
	said(err, d)
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
