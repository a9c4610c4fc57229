package outage

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Outage is one outage after another of the same thing. It is for one goroutine.
type Outage struct{ exp *backoff.ExponentialBackOff }

// New begins with waits around first, each longer than the one before, up to most.
func New(first, most time.Duration) Outage {
	exp := backoff.NewExponentialBackOff()
	exp.InitialInterval, exp.MaxInterval = first, most
	exp.MaxElapsedTime = 0 // the library's default gives up after a quarter of an hour
	exp.Reset()            // it was made with the library's first interval
	return Outage{exp}
}

// Next is how long to wait before the next try.
func (o Outage) Next() time.Duration { return o.exp.NextBackOff() }

// Over says that a try succeeded: the next outage begins with a short wait.
func (o Outage) Over() { o.exp.Reset() }

// Outlast has a room do its work until ctx ends. What the work returns with is told to failed, together with the wait after
// which it begins anew; the work calls landed when it has got somewhere, so that the next wait is a short one. What the
// work returns with once ctx has ended is nobody's fault, and is told to nobody.
func (o Outage) Outlast(ctx context.Context, work func(ctx context.Context, landed func()) error, failed func(err error, wait time.Duration)) {
	for {
		err := work(ctx, o.Over)
		if ctx.Err() != nil {
			return
		}
		wait := o.Next()
		failed(err, wait)
		if !Pause(ctx, wait) {
			return
		}
	}
}

// Pause waits, and says whether it did: false is the end of ctx.
func Pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
