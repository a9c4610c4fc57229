package door

import (
	"sync/atomic"
	"time"
)

// What is refused costs the one who sends it nothing: no rate holds it, since a rate is for what is taken. But to refuse it
// costs the gateway. So of one connection so many may come at once, and so many a second; for what is more its client waits,
// and so does what it has behind it in its connection.
const (
	refusalsAtOnce    = 200
	refusalsPerSecond = 100
	longestWait       = time.Second // of those that wait side by side, on one connection
	// One who goes on for so long is not listened to any more: what it has sent already could keep its connection for hours.
	longestPatience = 10 * time.Second
)

// refusals is how far they have used time up, in Unix ns, and how many came one after another without a rest.
type refusals struct{ until, waits atomic.Int64 }

// Refused counts a message that was refused for what it is, and says how long its answer has to wait, and whether the
// connection is to end with it. factor is for one who sends for many.
func (p *Peer) Refused(now time.Time, factor float64) (wait time.Duration, ends bool) {
	each := int64(float64(time.Second) / (refusalsPerSecond * max(factor, 1)))
	at := now.UnixNano()
	for {
		have := p.refusals.until.Load()
		until := min(max(have, at-refusalsAtOnce*each)+each, at+int64(longestWait))
		if !p.refusals.until.CompareAndSwap(have, until) {
			continue
		}
		if until <= at-refusalsAtOnce/2*each { // it has rested: one who wakes late has not
			p.refusals.waits.Store(0)
			return 0, false
		}
		return time.Duration(max(until-at, 0)), p.refusals.waits.Add(1) > int64(longestPatience)/each
	}
}
