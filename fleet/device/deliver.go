package device

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Deliver posts body again and again until it is stored or refused, the certificate is refused, or ctx ends. retried, if not nil, hears of
// each attempt that was not answered for.
func (c *Client) Deliver(ctx context.Context, body []byte, retried func(*Unsure)) (Receipt, error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(c.cfg.FirstPause), backoff.WithMaxInterval(c.cfg.LastPause), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0), // the jitter is ours, so that no wait is longer than LastPause
		backoff.WithMaxElapsedTime(0),      // a device never gives a message up for its age: ctx ends it
	)
	for attempt := 1; ; attempt++ {
		r, err := c.Post(ctx, body)
		r.Attempts = attempt
		var unsure *Unsure
		if !errors.As(err, &unsure) {
			return r, err
		}
		if retried != nil {
			retried(unsure)
		}
		wait := pause.NextBackOff()
		wait = wait/2 + rand.N(wait/2+1)
		wait = max(wait, unsure.RetryAfter)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return r, fmt.Errorf("%w (after %d attempts, the last one %w)", context.Cause(ctx), attempt, unsure)
		}
	}
}
