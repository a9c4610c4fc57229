package clickhouse

import (
	"context"
	"fmt"
	"strconv"
	"sync"
)

// queries are the requests that run. The library gives a query an id of its own; to the outside a query has the
// id of its request, and the tag (a log_comment) ties the two together.
type queries struct {
	mu   sync.Mutex
	byID map[string]*query // guarded by mu
	next uint64            // guarded by mu
}

type query struct {
	key                 string // in byID
	id, tag, user, text string
	done                chan struct{}
	killed              chan struct{} // closed by the first kill
	once                sync.Once
}

// analystsKey begins the keys of analysts' queries; no id in a URL can forge it for a service's.
const analystsKey = "analyst\x00"

func newQueries() *queries { return &queries{byID: make(map[string]*query)} }

// begin registers a query. A second one with the id of one that runs is refused, as on the server; but analysts'
// ids are apart, for a sink's next id can be guessed, and taken before it.
func (q *queries) begin(id, user, text string, analyst bool) (*query, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := id
	if analyst {
		key = analystsKey + id
	}
	if _, ok := q.byID[key]; ok {
		return nil, exceptionf(codeQueryRunning, "Query with id = %s is already running. (QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)", id)
	}
	q.next++
	r := &query{key: key, id: id, tag: "muster-" + strconv.FormatUint(q.next, 10), user: user, text: text, done: make(chan struct{}), killed: make(chan struct{})}
	q.byID[key] = r
	return r, nil
}

func (q *queries) end(r *query) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.byID, r.key)
	close(r.done)
}

func (q *queries) get(id string) *query {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r := q.byID[id]; r != nil {
		return r
	}
	return q.byID[analystsKey+id]
}

func (q *queries) all() []*query {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*query, 0, len(q.byID))
	for _, r := range q.byID {
		all = append(all, r)
	}
	return all
}

// cancelIn asks the engine to stop what runs under the query's tag. It may come before the engine has begun, so
// whoever must see the end repeats it.
func (r *query) cancelIn(e *engine) error {
	r.once.Do(func() { close(r.killed) })
	c, err := e.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.exec("KILL QUERY WHERE Settings['log_comment'] = " + literal(r.tag) + " ASYNC"); err != nil {
		return fmt.Errorf("cancel query %s: %w", r.id, err)
	}
	return nil
}

// dead reports whether the query was killed, maybe before it began.
func (r *query) dead() bool {
	select {
	case <-r.killed:
		return true
	default:
		return false
	}
}

// lane bounds how many queries run at once.
type lane chan struct{}

func (l lane) enter(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try enters if there is a place now.
func (l lane) try() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l lane) leave() { <-l }
