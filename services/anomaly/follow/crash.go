package follow

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// The points of the protocol at which a line may be killed. Compiled in always, so that what is tested is what runs; armed by
// configuration alone.
const (
	atOpened   = "opened"   // the former owner is fenced
	atRestored = "restored" // the state is there, nothing was read on
	atWrite    = "write"    // before outputs are written
	atWritten  = "written"  // they are in the log
	atTake     = "take"     // before a snapshot's chunks are written
	atTaken    = "taken"    // they are, and nothing names them
	atNamed    = "named"    // they are named
	atDropped  = "dropped"  // those that nobody needs are gone
)

// CrashPoints lists them.
func CrashPoints() []string {
	return []string{atOpened, atRestored, atWrite, atWritten, atTake, atTaken, atNamed, atDropped}
}

// crash is an armed point.
type crash struct {
	point string
	left  atomic.Int64
	// die ends the process, or in tests only the line that meets the point.
	die func(point string) error
}

func parseCrash(s string) (*crash, error) {
	c := &crash{die: func(string) error {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing may be flushed, finished or said
		select {}
	}}
	if s == "" {
		return c, nil
	}
	point, times, counted := strings.Cut(s, ":")
	left := int64(1)
	if counted {
		n, err := strconv.ParseUint(times, 10, 31)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q: behind the colon want how often the point is passed, from 1", s)
		}
		left = int64(n)
	}
	if !slices.Contains(CrashPoints(), point) {
		return nil, fmt.Errorf("%q: want one of %s", s, strings.Join(CrashPoints(), ", "))
	}
	c.point = point
	c.left.Store(left)
	return c, nil
}

// at is called at each point.
func (c *crash) at(point string) error {
	if c.point == point && c.left.Add(-1) == 0 {
		return c.die(point)
	}
	return nil
}
