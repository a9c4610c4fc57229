package ring

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// memory is a disk that knows what a power cut would leave of it. What was synced stays. Of the writes to a file since its
// last Sync, and of the names that were made or removed since the last SyncNames, any prefix may stay, and the last write
// of it in part. A file's content and its name are separate.
type memory struct {
	mu    sync.Mutex
	names map[string]*inode // as the process sees them
	safe  map[string]*inode
	since []func(map[string]*inode) // of names, not yet safe
	count int                       // of Sync
	room  int64                     // bytes that may still be written; below 0: no limit
	fail  error                     // of the next Sync
	step  func()                    // called after each change, with mu held
	slow  time.Duration             // of a Sync, which makes safe what was there when it began
}

type inode struct {
	data  []byte
	safe  []byte
	since []write
}

type write struct {
	at   int64
	data []byte // nil: a truncation to at
}

func (w write) apply(data []byte, cut int) []byte {
	if w.data == nil {
		return data[:min(int64(len(data)), w.at)]
	}
	end := w.at + int64(cut)
	for int64(len(data)) < end {
		data = append(data, 0)
	}
	copy(data[w.at:end], w.data[:cut])
	return data
}

func newMemory() *memory {
	return &memory{names: map[string]*inode{}, safe: map[string]*inode{}, room: -1}
}

func (m *memory) did() {
	if m.step != nil {
		m.step()
	}
}

func (m *memory) syncs() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// cut is what a power cut leaves, by chance within what may be; luck 0 leaves the least, 1 the most.
func (m *memory) cut(rng *rand.Rand, luck int) *memory {
	after := newMemory()
	names := maps.Clone(m.safe)
	keep := func(n int) int {
		switch luck {
		case 0:
			return 0
		case 1:
			return n
		}
		return rng.IntN(n + 1)
	}
	for _, change := range m.since[:keep(len(m.since))] {
		change(names)
	}
	for name, node := range names {
		data := slices.Clone(node.safe)
		n := keep(len(node.since))
		for i, w := range node.since[:n] {
			c := len(w.data)
			if i == n-1 && luck > 1 {
				c = rng.IntN(c + 1)
			}
			data = w.apply(data, c)
		}
		node := &inode{data: data, safe: slices.Clone(data)}
		after.names[name], after.safe[name] = node, node
	}
	return after
}

func (m *memory) Names() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.names)), nil
}

func (m *memory) change(f func(map[string]*inode)) {
	f(m.names)
	m.since = append(m.since, f)
	m.did()
}

func (m *memory) Create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if node := m.names[name]; node != nil {
		node.write(write{at: 0})
		m.did()
		return &handle{m, node}, nil
	}
	node := &inode{}
	m.change(func(names map[string]*inode) { names[name] = node })
	return &handle{m, node}, nil
}

func (m *memory) Open(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.names[name]
	if node == nil {
		return nil, fs.ErrNotExist
	}
	return &handle{m, node}, nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] != nil {
		if m.room >= 0 {
			m.room += int64(len(m.names[name].data))
		}
		m.change(func(names map[string]*inode) { delete(names, name) })
	}
	return nil
}

func (m *memory) SyncNames() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.safe, m.since = maps.Clone(m.names), nil
	m.did()
	return nil
}

func (m *memory) Close() error { return nil }

func (n *inode) write(w write) {
	n.data = w.apply(n.data, len(w.data))
	n.since = append(n.since, w)
}

type handle struct {
	m    *memory
	node *inode
}

func (h *handle) ReadAt(p []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if at >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, at int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	n := len(p)
	if h.m.room >= 0 {
		n = int(min(int64(n), h.m.room))
		h.m.room -= int64(n)
	}
	h.node.write(write{at, slices.Clone(p[:n:n])})
	h.m.did()
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (h *handle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.room >= 0 {
		h.m.room += max(0, int64(len(h.node.data))-size)
	}
	h.node.write(write{at: size})
	h.m.did()
	return nil
}

func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.count++
	if err := h.m.fail; err != nil {
		h.m.fail = nil
		return err
	}
	data, n := slices.Clone(h.node.data), len(h.node.since)
	if h.m.slow > 0 {
		h.m.mu.Unlock()
		time.Sleep(h.m.slow) // of the bubble
		h.m.mu.Lock()
	}
	h.node.safe, h.node.since = data, h.node.since[n:]
	h.m.did()
	return nil
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.node.data)), nil
}

func (h *handle) Close() error { return nil }

var errBroken = errors.New("input/output error")
