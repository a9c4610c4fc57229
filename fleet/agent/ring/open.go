package ring

import (
	"fmt"
	"io"
	"slices"
)

// Open opens the ring in dir, or makes it. Nobody else may have it open.
func Open(dir string, cfg Config) (*Ring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	d, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	r, err := open(d, cfg)
	if err != nil {
		d.Close()
		return nil, err
	}
	return r, nil
}

func open(d disk, cfg Config) (*Ring, error) {
	names, err := d.Names()
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	r := newRing(d, cfg)
	var firsts []uint64
	marks := map[uint64]bool{}
	for _, name := range names {
		if first, ok := parseName(name, segmentSuffix); ok {
			firsts = append(firsts, first)
		} else if first, ok := parseName(name, marksSuffix); ok {
			marks[first] = true
		}
	}
	slices.Sort(firsts)
	for i, first := range firsts {
		s, err := r.load(first, i == len(firsts)-1, marks[first])
		if err != nil {
			return nil, err
		}
		if s != nil {
			r.segments = append(r.segments, s)
			r.next = s.first + uint64(len(s.states))
			delete(marks, first)
		}
	}
	for first := range marks {
		if err := d.Remove(nameOf(first, marksSuffix)); err != nil {
			return nil, fmt.Errorf("ring: %w", err)
		}
	}
	r.live = ID(r.next)
	return r, r.takeStock()
}

// takeStock counts what was found, and lets go of segments that hold nothing but what is done.
func (r *Ring) takeStock() error {
	for i, s := range slices.Clone(r.segments) {
		r.counts.Found += uint64(s.waiting)
		r.counts.Waiting += s.waiting
		r.counts.Bytes += s.bytes()
		if last := i == len(r.segments)-1; s.empty() && !last {
			if err := r.remove(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// load reads one segment. nil: there was nothing to keep of it, and it is removed.
func (r *Ring) load(first uint64, last, marked bool) (*segment, error) {
	name := nameOf(first, segmentSuffix)
	f, err := r.disk.Open(name)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	p, size, err := readAll(f, MaxSegment)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("ring: read %s: %w", name, err)
	}
	s, err := readHeader(p, first)
	if err != nil || first < r.next {
		f.Close()
		if last {
			r.counts.Torn += size
		} else {
			r.counts.Corrupt.Bytes += uint64(size)
		}
		if err := r.disk.Remove(name); err != nil {
			return nil, fmt.Errorf("ring: %w", err)
		}
		return nil, nil
	}
	s.file = f
	seen := s.scan(p)
	r.counts.Corrupt.Messages += seen.bad.Messages
	r.counts.Corrupt.Bytes += seen.bad.Bytes
	tail := seen.tail + size - int64(len(p))
	switch {
	case tail > 0 && last:
		r.counts.Torn += tail
		// What is appended goes behind the last good record: nothing of the tail may show between.
		if err := f.Truncate(s.end); err != nil {
			s.close()
			return nil, fmt.Errorf("ring: cut the torn tail of %s: %w", name, err)
		}
	case tail > 0:
		r.counts.Corrupt.Bytes += uint64(tail)
		s.tail = tail
	}
	if marked {
		if err := r.loadMarks(s); err != nil {
			s.close()
			return nil, err
		}
	}
	if !last {
		s.broken = true // it is full, or behind it lies what must not be covered
		if err := s.close(); err != nil {
			return nil, fmt.Errorf("ring: close %s: %w", name, err)
		}
	}
	return s, nil
}

func (r *Ring) loadMarks(s *segment) error {
	name := nameOf(s.first, marksSuffix)
	f, err := r.disk.Open(name)
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	defer f.Close()
	p, _, err := readAll(f, markSize*(int64(len(s.states))+1))
	if err != nil {
		return fmt.Errorf("ring: read %s: %w", name, err)
	}
	s.readMarks(p)
	s.marksEnd = int64(len(p)) / markSize * markSize // a torn mark is written over
	return nil
}

// readAll gives at most limit bytes of a file, and how many it has.
func readAll(f file, limit int64) ([]byte, int64, error) {
	size, err := f.Size()
	if err != nil {
		return nil, 0, err
	}
	p := make([]byte, min(size, limit))
	if n, err := f.ReadAt(p, 0); n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, err
	}
	return p, size, nil
}
