package ring

import (
	"fmt"
	"time"
)

// Put keeps a value. On nil it is on the disk (with Config.Sync: it soon is). On an error it is not kept, and a power cut
// may yet bring it back. It waits for the disk and for nothing else.
func (r *Ring) Put(value []byte, kind uint8) (ID, error) {
	if int64(len(value)) > r.cfg.segment()-headerSize-recordHead {
		return 0, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(value))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, id, err := r.write(value, kind)
	if err != nil {
		if err != ErrClosed {
			r.counts.Failed++
		}
		return 0, err
	}
	if r.cfg.Sync > 0 {
		r.accept(c)
		c.from = len(c.segment.states)
		if r.timer == nil {
			r.timer = time.AfterFunc(r.cfg.Sync, r.syncLater)
		}
		return id, nil
	}
	// Whoever finds nobody at it makes the disk safe for all who have written so far.
	for !c.done {
		if r.syncing {
			r.settled.Wait()
		} else {
			r.lead()
		}
	}
	return id, c.err
}

// lead makes the pending values safe; meanwhile others write the next.
func (r *Ring) lead() {
	c := r.pending
	r.pending, r.syncing = nil, true
	f := c.segment.file
	r.mu.Unlock()
	err := f.Sync()
	r.mu.Lock()
	r.syncing = false
	r.finish(c, err)
}

// syncLater is the fsync of Config.Sync.
func (r *Ring) syncLater() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	if !r.closed && !r.syncing && r.pending != nil {
		r.lead()
	}
}

// flush makes the pending values safe with the ring locked. Nobody else is at it.
func (r *Ring) flush() error {
	c := r.pending
	if c == nil {
		return nil
	}
	r.pending = nil
	r.finish(c, c.segment.file.Sync())
	return c.err
}

func (r *Ring) finish(c *commit, err error) {
	c.done = true
	if err != nil {
		// What the disk has of the segment is not known any more, so nothing is appended to it.
		c.err = fmt.Errorf("ring: fsync: %w", err)
		c.segment.broken = true
		r.counts.SyncFailures++
		r.takeBack(c)
	} else {
		r.accept(c)
	}
	r.settled.Broadcast()
}

func (r *Ring) accept(c *commit) {
	s := c.segment
	for i := c.from; i < len(s.states); i++ {
		// Values that were written while the disk was at it are the next one's.
		if next := r.pending; next != nil && next != c && next.segment == s && i >= next.from {
			break
		}
		if s.states[i] == unsafe {
			s.wait(i)
			r.counts.Waiting++
			r.counts.Put++
		}
	}
	r.tell()
}

// takeBack forgets values that the disk did not take.
func (r *Ring) takeBack(c *commit) {
	s := c.segment
	for i := c.from; i < len(s.states); i++ {
		if next := r.pending; next != nil && next.segment == s && i >= next.from {
			break
		}
		if s.states[i] == unsafe {
			s.states[i] = gone
			r.counts.Failed++
			_ = r.writeMark(s, i) // if this too is lost, the value goes out once more than its owner thinks
		}
	}
}

// write appends a value to the last segment, or to a new one, and says which fsync makes it safe.
func (r *Ring) write(value []byte, kind uint8) (*commit, ID, error) {
	s, err := r.room(int64(recordHead + len(value)))
	if err != nil {
		return nil, 0, err
	}
	index := len(s.states)
	r.buf = s.record(r.buf[:0], value, index, kind)
	if _, err := s.file.WriteAt(r.buf, s.end); err != nil {
		// What was written of it is taken back, so that nothing half lies between records.
		if cut := s.file.Truncate(s.end); cut != nil {
			s.broken = true
		}
		return nil, 0, fmt.Errorf("ring: %w", err)
	}
	if r.pending == nil {
		r.pending = &commit{segment: s, from: index}
	}
	s.offsets, s.states = append(s.offsets, uint32(s.end)), append(s.states, unsafe)
	s.end += int64(len(r.buf))
	r.counts.Bytes += int64(len(r.buf))
	id := ID(r.next)
	r.next++
	if cap(r.buf) > 64<<10 {
		r.buf = nil
	}
	return r.pending, id, nil
}

// room gives the segment that takes n more bytes.
func (r *Ring) room(n int64) (*segment, error) {
	for {
		if r.closed {
			return nil, ErrClosed
		}
		s := r.active()
		fits := s != nil && !s.broken && s.end+n <= r.cfg.segment()
		if fits {
			r.giveWay(n)
			return s, nil
		}
		if r.syncing { // of the segment that is to be left
			r.settled.Wait()
			continue
		}
		if err := r.flush(); err != nil {
			return nil, err
		}
		r.giveWay(headerSize + n)
		return r.grow()
	}
}

// giveWay drops the oldest segments until n more bytes fit in.
func (r *Ring) giveWay(n int64) {
	for len(r.segments) > 1 && r.counts.Bytes+n > r.cfg.Bytes {
		s := r.segments[0]
		for i, state := range s.states {
			if state == waiting {
				r.counts.Dropped.Messages++
			}
			if state == waiting || state == out {
				r.counts.Dropped.Bytes += uint64(s.size(i))
			}
		}
		r.counts.Waiting -= s.waiting
		_ = r.remove(s) // whatever the disk does not let go of is found at the next Open
	}
}

// grow begins a segment. The name of it is safe before anything is written to it.
func (r *Ring) grow() (*segment, error) {
	before := r.active()
	s := &segment{first: r.next, salt: newSalt(), end: headerSize}
	name := nameOf(s.first, segmentSuffix)
	f, err := r.disk.Create(name)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	_, err = f.WriteAt(s.header(), 0)
	if err == nil {
		err = r.disk.SyncNames()
	}
	if err != nil {
		_ = f.Close()
		_ = r.disk.Remove(name)
		return nil, fmt.Errorf("ring: %w", err)
	}
	s.file = f
	r.segments = append(r.segments, s)
	r.counts.Bytes += s.bytes()
	if before != nil {
		if before.file != nil {
			_ = before.file.Close() // all of it is safe
			before.file = nil
		}
		r.letGo(before)
	}
	return s, nil
}
