package rollup

import (
	"context"
	"maps"
	"time"
)

// recentDays are computed by the pass that sees them touched: all that devices without history can send, and a day more.
const recentDays = 31

// oldTime is how long after its begin a pass takes up days that are further back. An import of years touches thousands
// of them, and today's hours must not wait for it: what is left is for the passes that follow, behind their own days.
const oldTime = 30 * time.Second

// backlog is old days that are still to be computed. The positions are kept when none is left: a roll-up that dies
// before reads the ledger from the positions before, and comes to the same days.
type backlog struct {
	dirty     hours
	positions map[partition]position
}

func (b *backlog) add(dirty hours, positions map[partition]position) {
	if b.dirty == nil {
		b.dirty = hours{}
	}
	b.dirty.merge(dirty)
	b.positions = positions
}

// Behind is how many old days are still to be computed.
func (r *Rollup) Behind() int { return len(r.now.dirty) + len(r.next.dirty) }

// work takes old days up until a deadline, and keeps the progress. What was touched since is not mixed into what is
// under way, so that this comes to an end, and its positions are kept, under any import.
func (r *Rollup) work(ctx context.Context, p *progress, tables []wide, deadline time.Time) (n int, err error) {
	defer func() { r.metrics.behind.Set(float64(r.Behind())) }()
	for {
		if len(r.now.dirty) == 0 {
			if r.now.positions != nil {
				maps.Copy(p.positions, r.now.positions)
			}
			r.now, r.next = r.next, backlog{}
			if r.now.positions == nil {
				return n, r.keep(ctx, p)
			}
			continue
		}
		if !time.Now().Before(deadline) {
			return n, r.keep(ctx, p)
		}
		some, err := r.compute(ctx, tables, r.now.dirty, p.closed)
		if err != nil {
			return n, err
		}
		n += some
	}
}

// keep saves the progress, unless the place was taken.
func (r *Rollup) keep(ctx context.Context, p *progress) error {
	if err := r.own(ctx); err != nil {
		return err
	}
	p.pass++
	return r.save(ctx, *p)
}
