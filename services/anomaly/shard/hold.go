package shard

import (
	"bytes"
	"cmp"
	"slices"

	"muster.dev/services/anomaly/census"
)

// held is a record whose time is not closed.
type held struct {
	at         int64
	offset     int64
	form       form
	key, value []byte
}

func (h *held) size() int { return len(h.key) + len(h.value) }

const (
	// holdBytes is what the records that wait may have together, as Settings.Hold is how many they are.
	holdBytes = 1 << 30
	// From a quarter of either on, a device has a share: one that floods its partition makes its own records late, and no
	// other's.
	crowded   = 4
	shares    = 64
	leastHeld = 16
)

// hold is what waits for the instant that it belongs to.
type hold struct {
	all   []held
	bytes int
	known *census.State

	// From when it is crowded until the next cut: what each device has. A fleet that is as large as a shard bears is always
	// crowded, so the shard's own are found by their index. Others, as all are until the registry's log is read, are told
	// apart by a sum of their names.
	shared bool
	own    []share
	others map[uint64]share
}

type share struct{ records, bytes uint32 }

// room says whether a record may wait. It is a function of those that do, so a restored shard says the same. What a gateway
// says of a device is not the device's flood.
func (h *hold) room(r *held, most int) bool {
	size := r.size()
	switch {
	case len(h.all) >= most || h.bytes+size > holdBytes:
		return false
	case len(h.all) < most/crowded && h.bytes < holdBytes/crowded || r.form == sign:
		return true
	}
	if !h.shared {
		h.share()
	}
	of := h.of(r.key)
	return int(of.records) < max(leastHeld, most/shares) && int(of.bytes)+size <= holdBytes/shares
}

func (h *hold) share() {
	h.shared = true
	h.own = slices.Grow(h.own[:0], h.known.Len())[:h.known.Len()] // no device joins between two cuts
	clear(h.own)
	for i := range h.all {
		h.count(&h.all[i])
	}
}

func (h *hold) of(key []byte) share {
	if i, ok := h.known.Lookup(key); ok {
		return h.own[i]
	}
	return h.others[sumOf(key)]
}

// sumOf is FNV-1a: the same in each process.
func sumOf(key []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, b := range key {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

func (h *hold) count(r *held) {
	if i, ok := h.known.Lookup(r.key); ok {
		h.own[i].add(r)
		return
	}
	if h.others == nil {
		h.others = map[uint64]share{}
	}
	sum := sumOf(r.key)
	of := h.others[sum]
	of.add(r)
	h.others[sum] = of
}

func (s *share) add(r *held) {
	s.records++
	s.bytes += uint32(r.size()) // all that wait have less than 1<<32
}

func (h *hold) add(r held) {
	h.all = append(h.all, r)
	h.bytes += r.size()
	if h.shared {
		h.count(&r)
	}
}

// until takes out what happened until an instant, in order of time, whatever order it came in.
func (h *hold) until(at int64) (ready []held) {
	h.bytes, h.shared, h.others = 0, false, nil
	n := 0
	for i := range h.all {
		if h.all[i].at <= at {
			n++
		}
	}
	ready = make([]held, 0, n)
	rest := h.all[:0]
	for _, r := range h.all {
		if r.at <= at {
			ready = append(ready, r)
		} else {
			rest = append(rest, r)
			h.bytes += r.size()
		}
	}
	clear(h.all[len(rest):])
	h.all = rest
	slices.SortFunc(ready, func(a, b held) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		if a, b := a.form.topic(), b.form.topic(); a != b {
			return cmp.Compare(a, b)
		}
		if by := bytes.Compare(a.key, b.key); by != 0 {
			return by
		}
		return cmp.Compare(a.offset, b.offset)
	})
	return ready
}
