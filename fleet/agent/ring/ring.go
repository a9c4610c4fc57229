package ring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"
)

// Ring is open. Its methods may be called from several goroutines.
type Ring struct {
	cfg  Config
	disk disk

	mu       sync.Mutex // guards all below; it is not held during an fsync for Put
	settled  *sync.Cond // an fsync has ended
	segments []*segment // by first id; the last one is written
	next     uint64     // id of the next value
	live     ID         // values below lay there at Open
	highest  ID         // handed out so far
	out      map[ID]bool
	pending  *commit // what the next fsync makes safe
	syncing  bool
	timer    *time.Timer   // of the next fsync, with Sync above 0
	news     chan struct{} // closed when there is something for Next
	reading  *segment      // the one before the last that is open for reading
	marking  *segment      // the one that is open for marks
	counts   Counts
	buf      []byte
	closed   bool
}

// commit is what one fsync makes safe: values of one segment, from one index on.
type commit struct {
	segment *segment
	from    int
	done    bool
	err     error
}

func newRing(d disk, cfg Config) *Ring {
	r := &Ring{cfg: cfg, disk: d, next: 1, out: map[ID]bool{}, news: make(chan struct{})}
	r.settled = sync.NewCond(&r.mu)
	return r
}

// Next hands out a value, and waits for one until ctx ends. After an error of the disk the value is passed over and counted.
func (r *Ring) Next(ctx context.Context) (Entry, error) {
	for {
		r.mu.Lock()
		e, ok := r.take()
		news, closed := r.news, r.closed
		r.mu.Unlock()
		switch {
		case closed:
			return Entry{}, ErrClosed
		case ok:
			return e, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Entry{}, context.Cause(ctx)
		}
	}
}

// take hands out a value if there is one.
func (r *Ring) take() (Entry, bool) {
	for !r.closed && r.counts.Waiting > 0 {
		s, i := r.pick()
		s.states[i] = out
		s.waiting--
		r.counts.Waiting--
		kind, value, err := r.read(s, i)
		if err != nil {
			s.states[i] = gone
			r.counts.Corrupt.Messages++
			r.counts.Corrupt.Bytes += uint64(s.size(i))
			r.letGo(s)
			continue
		}
		id := ID(s.first + uint64(i))
		s.out++
		r.counts.InFlight++
		r.out[id] = true
		e := Entry{ID: id, Kind: kind, Value: value}
		if r.cfg.Order == NewestFirst {
			e.Backlog = id < r.live || id < r.highest
		}
		r.highest = max(r.highest, id)
		return e, true
	}
	return Entry{}, false
}

func (r *Ring) pick() (*segment, int) {
	if r.cfg.Order == NewestFirst {
		for _, s := range slices.Backward(r.segments) {
			if s.waiting > 0 {
				return s, s.newest()
			}
		}
	}
	for _, s := range r.segments {
		if s.waiting > 0 {
			return s, s.oldest()
		}
	}
	panic("ring: the count of values that wait is wrong")
}

func (r *Ring) read(s *segment, i int) (uint8, []byte, error) {
	if s.file == nil {
		f, err := r.disk.Open(nameOf(s.first, segmentSuffix))
		if err != nil {
			return 0, nil, err
		}
		if r.reading != nil && r.reading != r.active() && r.reading.file != nil {
			_ = r.reading.file.Close() // it was read only
			r.reading.file = nil
		}
		s.file, r.reading = f, s
	}
	p := make([]byte, s.size(i))
	if _, err := s.file.ReadAt(p, int64(s.offsets[i])); err != nil {
		return 0, nil, err
	}
	work := int64(len(p))
	index, kind, value, ok := s.parseRecord(p, &work)
	if !ok || index != i {
		return 0, nil, errors.New("ring: the record is not as it was written")
	}
	return kind, value, nil
}

// Done lets a value go that Next handed out. The error says that the mark of it could not be written: the value goes out
// again after a restart.
func (r *Ring) Done(id ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.settle(id); err != nil {
		return err
	}
	r.counts.Done++
	s, i := r.find(id)
	if s == nil {
		return nil // it gave way while it was out
	}
	s.states[i] = gone
	s.out--
	if s.empty() && s != r.active() {
		return r.remove(s)
	}
	return r.writeMark(s, i)
}

// Return takes a value back that Next handed out, to be handed out again.
func (r *Ring) Return(id ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.settle(id); err != nil {
		return err
	}
	s, i := r.find(id)
	if s == nil {
		r.counts.Dropped.Messages++ // it gave way while it was out; its bytes are counted
		return nil
	}
	s.out--
	s.wait(i)
	r.counts.Waiting++
	r.tell()
	return nil
}

func (r *Ring) settle(id ID) error {
	if r.closed {
		return ErrClosed
	}
	if !r.out[id] {
		return fmt.Errorf("ring: value %d is not out", id)
	}
	delete(r.out, id)
	r.counts.InFlight--
	return nil
}

func (r *Ring) find(id ID) (*segment, int) {
	n := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].first > uint64(id) })
	if n == 0 {
		return nil, 0
	}
	s := r.segments[n-1]
	if i := uint64(id) - s.first; i < uint64(len(s.states)) {
		return s, int(i)
	}
	return nil, 0
}

func (r *Ring) writeMark(s *segment, i int) error {
	if s.marks == nil {
		if r.marking != nil && r.marking != s && r.marking.marks != nil {
			_ = r.marking.marks.Close() // a mark that is lost costs a value sent twice
			r.marking.marks = nil
		}
		open := r.disk.Open
		if s.marksEnd == 0 {
			open = r.disk.Create
		}
		f, err := open(nameOf(s.first, marksSuffix))
		if err != nil {
			return fmt.Errorf("ring: mark value %d: %w", s.first+uint64(i), err)
		}
		s.marks, r.marking = f, s
	}
	if _, err := s.marks.WriteAt(s.mark(i), s.marksEnd); err != nil {
		return fmt.Errorf("ring: mark value %d: %w", s.first+uint64(i), err)
	}
	s.marksEnd += markSize
	r.counts.Bytes += markSize
	return nil
}

// letGo removes a segment that is of no more use.
func (r *Ring) letGo(s *segment) {
	if s.empty() && s != r.active() {
		_ = r.remove(s) // else it is found empty at the next Open
	}
}

func (r *Ring) active() *segment {
	if len(r.segments) == 0 {
		return nil
	}
	return r.segments[len(r.segments)-1]
}

// remove takes a segment off the disk. That need not be safe: whatever comes back is sent again.
func (r *Ring) remove(s *segment) error {
	r.segments = slices.DeleteFunc(r.segments, func(o *segment) bool { return o == s })
	r.counts.Bytes -= s.bytes()
	_ = s.close()
	err := r.disk.Remove(nameOf(s.first, segmentSuffix))
	if err == nil {
		err = r.disk.Remove(nameOf(s.first, marksSuffix))
	}
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	return nil
}

func (r *Ring) tell() {
	close(r.news)
	r.news = make(chan struct{})
}

// Counts gives the ring's figures.
func (r *Ring) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Close makes what was put safe and gives the directory free. Values that are out are handed out after the next Open.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.syncing {
		r.settled.Wait()
	}
	if r.closed {
		return nil
	}
	err := r.flush()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	for _, s := range r.segments {
		err = errors.Join(err, s.close())
	}
	r.tell()
	return errors.Join(err, r.disk.Close())
}

func newSalt() uint32 { return rand.Uint32() }
