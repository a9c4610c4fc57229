package writer

import (
	"context"
	"sync"
)

// ends shares the questions for the log's end: there is one under way at most, and whoever comes meanwhile waits for the
// next, which is put after he came. So a flood of those who want to be sure is one question after another for the broker.
type ends struct {
	ask  func(context.Context) (int64, error) // bounds its time itself
	turn chan struct{}                        // holds one token while a question is under way

	mu   sync.Mutex
	next *question // guarded by mu; nil is none: whoever comes makes it, and puts it
}

type question struct {
	done chan struct{} // closed when the rest is known
	end  int64
	err  error
}

func newEnds(ask func(context.Context) (int64, error)) *ends {
	return &ends{ask: ask, turn: make(chan struct{}, 1)}
}

// wait gives the log's end as it was told after the call began. Who puts a question has its answer even if his own time
// ran out meanwhile; who waits for another's goes when his time is over.
func (e *ends) wait(ctx context.Context) (int64, error) {
	e.mu.Lock()
	q, mine := e.next, false
	if q == nil {
		q, mine = &question{done: make(chan struct{})}, true
		e.next = q
	}
	e.mu.Unlock()
	if mine {
		e.put(ctx, q)
		return q.end, q.err
	}
	select {
	case <-q.done:
		return q.end, q.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// put asks for all who wait, so it does not end with the one who happened to come first.
func (e *ends) put(ctx context.Context, q *question) {
	e.turn <- struct{}{} // the one under way is bounded as this one is
	e.mu.Lock()
	e.next = nil
	e.mu.Unlock()
	q.end, q.err = e.ask(context.WithoutCancel(ctx))
	<-e.turn
	close(q.done)
}
