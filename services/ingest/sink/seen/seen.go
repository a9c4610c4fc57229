package seen

import "math/bits"

// Width is how many sequence numbers below the high-water mark are remembered
// one by one. It is what the ledger is asked for at a rebuild.
const Width = 1024

const words = Width / 64

// Verdict is what the cache knows of a message.
type Verdict uint8

const (
	// New: not in the ledger.
	New Verdict = iota
	// Stored: in the ledger; only its hash is to be asked for.
	Stored
	// Ask: too old or too long ago; the ledger knows.
	Ask
)

// window is one boot of one device. Bit seq%Width stands for seq, for the
// seqs in (high-Width, high] that are >= floor.
type window struct {
	high  uint64
	floor uint64 // below it the bitmap says nothing
	empty bool   // nothing stored: high says nothing
	bits  [words]uint64
}

// State is the cache of one partition. It is not safe for concurrent use.
type State struct {
	windows map[uint64]*window
	max     int
	whole   bool // every boot in the ledger has a window
}

// NewState remembers at most max boots of devices, at about 170 bytes each.
// Past that it forgets some boot, and asks the ledger when it comes again.
func NewState(max int) *State {
	return &State{windows: make(map[uint64]*window), max: max, whole: true}
}

func key(device, boot uint32) uint64 { return uint64(device)<<32 | uint64(boot) }

// Len is the number of boots remembered.
func (s *State) Len() int { return len(s.windows) }

// Load puts in what a range of the ledger holds of one boot: its highest seq there, and which of the Width seqs up to
// it, where bit i of the bitmap stands for high-i. Every range of the ledger has to be loaded before the first Check,
// the youngest first: a boot for which there is no room then is one that was not heard of for the longest time, and is
// asked for when it comes again. To load a range twice changes nothing.
func (s *State) Load(device, boot uint32, high uint64, stored *[Width / 64]uint64) {
	k := key(device, boot)
	w := s.windows[k]
	switch {
	case w == nil && len(s.windows) >= s.max:
		s.whole = false
		return
	case w == nil:
		w = s.add(k)
		w.rise(high)
	case high > w.high:
		w.slide(high)
	}
	for i, word := range stored {
		for ; word != 0; word &= word - 1 {
			back := uint64(i*64 + bits.TrailingZeros64(word))
			if back <= high && high-back >= w.floor {
				w.set(high - back)
			}
		}
	}
	if high >= w.floor {
		w.set(high)
	}
}

func (w *window) set(seq uint64) { w.bits[seq/64%words] |= 1 << (seq % 64) }

// Check says what is known of a message.
func (s *State) Check(device, boot uint32, seq uint64) Verdict {
	w := s.windows[key(device, boot)]
	switch {
	case w == nil && s.whole, w != nil && (w.empty || seq > w.high):
		return New
	case w == nil || seq < w.floor:
		return Ask
	case w.bits[seq/64%words]&(1<<(seq%64)) != 0:
		return Stored
	}
	return New
}

// Knows says whether the boot needs no Adopt before its messages are asked
// for one by one.
func (s *State) Knows(device, boot uint32) bool {
	return s.whole || s.windows[key(device, boot)] != nil
}

// Adopt takes what the ledger says of a boot that is not known: whether it
// holds any message of it, and the highest seq. At and below that seq the
// ledger is asked, above it nothing is stored.
func (s *State) Adopt(device, boot uint32, high uint64, found bool) {
	w := s.add(key(device, boot))
	w.high, w.floor, w.empty = high, high+1, !found
}

// Add says that a message is stored. Of a boot that is not known nothing is
// remembered: what lies above that message would not be known either.
func (s *State) Add(device, boot uint32, seq uint64) {
	k := key(device, boot)
	w := s.windows[k]
	if w == nil {
		if !s.whole {
			return
		}
		w = s.add(k)
		w.empty = true
	}
	switch {
	case w.empty:
		w.empty = false
		w.rise(seq)
	case seq > w.high:
		w.slide(seq)
	case seq < w.floor:
		return
	}
	w.set(seq)
}

// rise sets the window's first high-water mark.
func (w *window) rise(high uint64) {
	w.high, w.floor = high, 0
	if high >= Width {
		w.floor = high - Width + 1
	}
}

// slide moves the window up to a new high-water mark and clears the bits that
// now stand for other seqs.
func (w *window) slide(high uint64) {
	if high-w.high >= Width {
		w.bits = [words]uint64{}
	} else {
		for seq := w.high + 1; seq <= high; seq++ {
			w.bits[seq/64%words] &^= 1 << (seq % 64)
		}
	}
	w.high = high
	if high >= Width && w.floor < high-Width+1 {
		w.floor = high - Width + 1
	}
}

func (s *State) add(k uint64) *window {
	if w := s.windows[k]; w != nil {
		*w = window{}
		return w
	}
	if len(s.windows) >= s.max {
		for old := range s.windows {
			delete(s.windows, old)
			break
		}
		s.whole = false
	}
	w := &window{}
	s.windows[k] = w
	return w
}
