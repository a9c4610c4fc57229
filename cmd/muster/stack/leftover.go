package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"muster.dev/cmd/muster/supervise"
)

// awaitLeftovers waits for processes of a stack on this directory whose `up` was killed: they notice and end by
// themselves, but a gateway may take a while to give up on a log that has gone before it.
func (d Dir) awaitLeftovers(ctx context.Context, limit time.Duration, say func(process, sentence string)) error {
	deadline := time.Now().Add(limit)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for _, p := range parts() {
		pid := d.leftover(p.Name)
		if pid == 0 {
			continue
		}
		say(p.Name, fmt.Sprintf("process %d of a stack that was killed is still stopping; waiting for it", pid))
		for d.leftover(p.Name) == pid {
			if time.Now().After(deadline) {
				return fmt.Errorf("%s of a stack that was killed is still running as process %d: end it (kill -9 %d loses nothing that was accepted) and start again", p.Name, pid, pid)
			}
			select {
			case <-look.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// leftover is the id of a process that ran for this directory and still does, 0 if none does. The caller holds the
// lock, so nobody supervises it.
func (d Dir) leftover(name string) int {
	raw, err := os.ReadFile(d.RunFile(name))
	var st supervise.State
	if err != nil || json.Unmarshal(raw, &st) != nil || st.PID <= 0 || syscall.Kill(st.PID, 0) != nil {
		return 0
	}
	// The number may have been given to another program since.
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(st.PID) + "/cmdline")
	if err == nil && !bytes.Contains(cmdline, []byte(d.Config(name))) {
		return 0
	}
	return st.PID
}
