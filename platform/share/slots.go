package share

import "sync"

// Slots counts holders per key up to a limit each: connections of one address, of one device. A key without holders
// takes no memory. Safe for concurrent use.
type Slots[K comparable] struct {
	limit int

	mu   sync.Mutex
	held map[K]int // guarded by mu
}

// NewSlots allows limit holders per key.
func NewSlots[K comparable](limit int) *Slots[K] {
	return &Slots[K]{limit: limit, held: map[K]int{}}
}

// Take takes a slot of key and says whether one was free.
func (s *Slots[K]) Take(key K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key] >= s.limit {
		return false
	}
	s.held[key]++
	return true
}

// Give returns a slot that Take took.
func (s *Slots[K]) Give(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.held[key]; n > 1 {
		s.held[key] = n - 1
	} else {
		delete(s.held, key)
	}
}

// Keys is how many keys have a holder.
func (s *Slots[K]) Keys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}
