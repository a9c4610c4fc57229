package supervise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// turnEvery is how often a log's size is looked at.
const turnEvery = 10 * time.Second

// openLog opens the file that takes a process's output. It appends, so that truncating the file under the
// process, which is how it is turned over, makes it continue at the beginning.
func openLog(path string, limit int64) (*os.File, error) {
	if err := turn(path, limit); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return f, nil
}

// turn copies a log that has reached the limit to path.1 and empties it.
func turn(path string, limit int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() < limit {
		return nil // none yet, or small enough
	}
	src, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("turning over the log: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(path+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("turning over the log: %w", err)
	}
	_, err = io.Copy(dst, src)
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = src.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("turning over the log: %w", err)
	}
	return nil
}

// turnLogs looks after the log's size until the returned function is called, which waits for the last look.
func (p *process) turnLogs() (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(turnEvery)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if err := turn(p.program.Log, p.owner.settings.LogCap); err != nil {
					p.owner.tell(p.program.Name, err.Error())
				}
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// LastLine is what a process printed last, cut where it is long; empty when it printed nothing. Of a structured line it
// is the message and the error.
func LastLine(path string) string {
	all := tail(path, 1)
	if len(all) == 0 {
		return ""
	}
	line := all[0]
	var entry struct{ Msg, Error string }
	if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg != "" {
		line = entry.Msg
		if entry.Error != "" {
			line += ": " + entry.Error
		}
	}
	const most = 300
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "..."
	}
	return line
}

// lastLines shows the end of a log under a sentence about it.
func lastLines(path string) string {
	all := tail(path, 6)
	if len(all) == 0 {
		return ""
	}
	return ", which ends:\n    " + strings.Join(all, "\n    ")
}

// tail is the last lines of a file, as many as are asked for at most.
func tail(path string, lines int) []string {
	const most = 4096
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // at worst the first lines are shown
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return nil
	}
	all := strings.Split(string(b), "\n")
	return all[max(0, len(all)-lines):]
}
