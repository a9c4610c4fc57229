package simulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Line is one accepted message in the producer's journal.
type Line struct {
	Device    string `json:"device"`
	Boot      uint32 `json:"boot"`
	Seq       uint64 `json:"seq"`
	Hash      uint32 `json:"hash"` // record.Hash of the bytes as sent, which the gateway passes on unchanged
	Values    int    `json:"values"`
	Duplicate bool   `json:"duplicate,omitempty"` // as the gateway told
	Attempts  int    `json:"attempts"`
	At        int64  `json:"at"` // Unix ms of the 200
}

// flushEvery bounds what a crash of the journal's owner can leave unwritten.
const flushEvery = 100 * time.Millisecond

// Journal appends lines to a file, many of them under one fsync. A line is accepted by the gateway whether or
// not it got here: the journal proves what was accepted, not what was not.
type Journal struct {
	file *os.File
	quit chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex // guards those below
	buf   *bufio.Writer
	dirty bool // something was written since the last fsync began
	err   error
}

// OpenJournal opens a file for appending.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &Journal{file: f, buf: bufio.NewWriterSize(f, 1<<16), quit: make(chan struct{})}
	j.done.Go(j.flush)
	return j, nil
}

// Append adds a line; it is on the disk within flushEvery and an fsync.
func (j *Journal) Append(l Line) {
	b, err := json.Marshal(l)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		_, err = j.buf.Write(append(b, '\n'))
	}
	j.dirty = true
	if err != nil && j.err == nil {
		j.err = err
	}
}

// Close puts everything on the disk and says whether every line got there.
func (j *Journal) Close() error {
	close(j.quit)
	j.done.Wait()
	j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Close(); j.err == nil {
		j.err = err
	}
	if j.err != nil {
		return fmt.Errorf("writing the journal: %w", j.err)
	}
	return nil
}

func (j *Journal) flush() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.sync()
		case <-j.quit:
			return
		}
	}
}

func (j *Journal) sync() {
	j.mu.Lock()
	dirty := j.dirty
	j.dirty = false
	err := j.buf.Flush()
	j.mu.Unlock()
	if err == nil && dirty {
		err = j.file.Sync() // outside the lock: devices go on
	}
	if err != nil {
		j.mu.Lock()
		if j.err == nil {
			j.err = err
		}
		j.mu.Unlock()
	}
}
