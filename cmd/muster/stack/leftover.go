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

// patience is how long processes of a killed stack may take to end by themselves, which they do within OrphanGrace
// unless they hang or were stopped; and how long the kernel may then take to end them.
const (
	patience = OrphanGrace + 3*time.Second
	killing  = 10 * time.Second
)

// OrphanGrace is how long a process works on its own end once its supervisor is gone. It may not need more: a gateway
// would wait for a log that has gone before it, and what the log has not acknowledged was told to no device as stored.
const OrphanGrace = 2 * time.Second

// endLeftovers waits for processes of a stack on this directory whose `up` was killed: they notice and end by
// themselves. What is left after limit is killed, which loses nothing that was accepted.
func (d Dir) endLeftovers(ctx context.Context, limit time.Duration, say func(process, sentence string)) error {
	deadline := time.Now().Add(limit)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for _, p := range parts() {
		pid := d.leftover(p.Name)
		if pid == 0 {
			continue
		}
		say(p.Name, fmt.Sprintf("process %d of a stack that was killed is still stopping; waiting for it", pid))
		killed := false
		for d.leftover(p.Name) == pid {
			if over := time.Since(deadline); over > killing || over > 0 && !d.ours(p.Name, pid) && !ending(pid) {
				return fmt.Errorf("%s of a stack that was killed is still running as process %d: end it (kill -9 %d loses nothing that was accepted) and start again", p.Name, pid, pid)
			} else if over > 0 && !killed {
				killed = true
				say(p.Name, fmt.Sprintf("process %d does not end: killing it", pid))
				_ = syscall.Kill(pid, syscall.SIGKILL) // fails once it has ended
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
// lock, or only wants to know.
func (d Dir) leftover(name string) int {
	raw, err := os.ReadFile(d.RunFile(name))
	var st supervise.State
	if err != nil || json.Unmarshal(raw, &st) != nil || st.PID <= 0 || syscall.Kill(st.PID, 0) != nil {
		return 0
	}
	// The number may have been given to another program since.
	if _, err := os.Stat("/proc/self/cmdline"); err == nil && !d.ours(name, st.PID) && !ending(st.PID) {
		return 0
	}
	return st.PID
}

// ours is whether a process is this part of this directory, as far as /proc tells: without it nothing is known to be.
func (d Dir) ours(name string, pid int) bool {
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && bytes.Contains(cmdline, []byte(d.Config(name)))
}

// ending is whether a process of this program is between the end of its memory, with which /proc forgets its command
// line, and the end of its files: its ports are still taken. On a busy machine that is a while, and a process of many
// threads can be a zombie by its first one while another closes what they share.
func ending(pid int) bool {
	of := "/proc/" + strconv.Itoa(pid)
	cmdline, err := os.ReadFile(of + "/cmdline")
	if err != nil || len(cmdline) > 0 {
		return false
	}
	own, _ := os.ReadFile("/proc/self/comm")
	if name, err := os.ReadFile(of + "/comm"); err != nil || !bytes.Equal(name, own) {
		return false // the kernel's own have no command line either
	}
	stat, err := os.ReadFile(of + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	threads, _ := os.ReadDir(of + "/task")
	return !bytes.HasPrefix(after, []byte("Z")) || len(threads) > 1
}
