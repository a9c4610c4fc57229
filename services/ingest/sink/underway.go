package sink

import (
	"sync"
	"time"
)

// stalledAfter is how long a plan may be under way before the sink says that it does not do its work. A plan takes the
// linger and an insert; a recovery may wait for what another owner has sent, which is announced the same way.
const stalledAfter = 30 * time.Second

// underWay knows which partitions have work that is not done, and since when: the lag that is measured at a commit
// says nothing while none comes.
type underWay struct {
	mu    sync.Mutex // over since
	since map[*worker]time.Time
}

// begin says that w has work. Work that it has already keeps its beginning.
func (u *underWay) begin(w *worker) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since == nil {
		u.since = map[*worker]time.Time{}
	}
	if _, ok := u.since[w]; !ok {
		u.since[w] = time.Now()
	}
}

// end says that w's work is done, or no longer w's.
func (u *underWay) end(w *worker) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.since, w)
}

// oldest is the age of the work that has been under way for longest; 0 where there is none.
func (u *underWay) oldest() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	var age time.Duration
	for _, at := range u.since {
		age = max(age, time.Since(at))
	}
	return age
}
