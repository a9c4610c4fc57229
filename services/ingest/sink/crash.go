package sink

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The points of the protocol at which the torture kills the process. Compiled in always, so that what is tested is
// what runs; armed by configuration alone.
const (
	atPlanResolved  = "plan.resolved"
	atPlanCommitted = "plan.committed"
	atInsertSent    = "insert.sent" // the first table's block was sent and not yet answered
	atInsertAcked   = "insert.acked"
	atLedgerSent    = "ledger.sent"
	atLedgerAcked   = "ledger.acked"
	atCommitSent    = "commit.sent"
	atCommitAcked   = "commit.acked"
)

// CrashPoints lists them in the order in which a plan meets them.
func CrashPoints() []string {
	return []string{atPlanResolved, atPlanCommitted, atInsertSent, atInsertAcked, atLedgerSent, atLedgerAcked, atCommitSent, atCommitAcked}
}

// crash is an armed point; the zero value is not armed.
type crash struct {
	point string
	left  atomic.Int64
}

func parseCrash(s string) (*crash, error) {
	c := &crash{}
	if s == "" {
		return c, nil
	}
	point, times, counted := strings.Cut(s, ":")
	n := int64(1)
	if counted {
		var err error
		if n, err = strconv.ParseInt(times, 10, 32); err != nil || n < 1 {
			return nil, fmt.Errorf("%q: want a count of 1 or more behind the colon", s)
		}
	}
	if !slices.Contains(CrashPoints(), point) {
		return nil, fmt.Errorf("%q: want one of %s", s, strings.Join(CrashPoints(), ", "))
	}
	c.point = point
	c.left.Store(n)
	return c, nil
}

// at kills the process when this is the armed point's time. SIGKILL, and not an exit: nothing may be flushed,
// finished or said.
func (c *crash) at(point string) {
	if c.armed(point) && c.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// soon kills the process within a few milliseconds from now, while what comes next is under way.
func (c *crash) soon(point string) {
	if c.armed(point) && c.left.Add(-1) == 0 {
		time.AfterFunc(rand.N(15*time.Millisecond), func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	}
}

func (c *crash) armed(point string) bool { return c.point != "" && c.point == point }
