package sink

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// everyOther picks every n-th request. The broker asks more than once about one request.
func everyOther(n int) func(kmsg.Request) bool {
	var last kmsg.Request
	count := 0
	return func(r kmsg.Request) bool {
		if r != last {
			last = r
			count++
		}
		return count%n == 0
	}
}

func TestACommitThatWasTakenAndTimedOutDoublesNothing(t *testing.T) {
	w := newFaultyWorld(t)
	w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RequestTimedOut, Count: -1, When: everyOther(3)})
	s := w.start(w.cfg)
	for range 8 {
		w.send(40)
	}
	w.stored(30 * time.Second)
	s.stop()
	w.audit()
	if s.metric("muster_sink_commit_seconds", "outcome", "error") == 0 {
		t.Error("no commit failed")
	}
}

func TestARejectedCommitGivesThePartitionUpAndLosesNothing(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress} {
		t.Run(err.Message, func(t *testing.T) {
			w := newFaultyWorld(t)
			w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: err, Count: 4, When: everyOther(2)})
			s := w.start(w.cfg)
			for range 5 {
				w.send(40)
			}
			w.stored(30 * time.Second)
			s.stop()
			w.audit()
		})
	}
}

func TestAStoreThatIsGoneHangsOrCutsItsAnswersIsWaitedFor(t *testing.T) {
	for name, mode := range map[string]proxyMode{"gone": refuse, "hangs": blackhole, "cuts answers": cutAnswer} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.defineProfile(1)
			p, cfg := w.behind()
			s := w.start(cfg)
			w.send(40)
			for range 3 {
				w.send(40)
				p.quietly(mode)
				w.send(40)
				<-time.After(time.Duration(w.rng.IntN(400)) * time.Millisecond)
				p.set(pass)
			}
			w.stored(40 * time.Second)
			s.stop()
			w.audit()
			if n := s.metric("muster_sink_broken_sessions_total"); n != 0 {
				t.Errorf("%v sessions broke: a store that is gone is no reason to leave the group", n)
			}
		})
	}
}

func TestWhileTheStoreIsGoneMemoryIsBoundedAndTheMemberStays(t *testing.T) {
	w := newWorld(t)
	p, cfg := w.behind()
	cfg.Buffer = 1 << 20
	s := w.start(cfg)
	w.send(40)
	w.stored(20 * time.Second)
	p.set(refuse)
	for range 12 {
		w.send(400)
	}
	// Over the bound there can be what one poll brings and what the client fetched ahead.
	var most float64
	end := time.Now().Add(3 * time.Second)
	w.until("some session timeouts pass", 10*time.Second, func() (bool, string) {
		most = max(most, s.metric("muster_sink_buffered_bytes"))
		return time.Now().After(end), ""
	})
	if most > 4<<20 {
		t.Errorf("%v bytes are held, the bound is %d", most, cfg.Buffer)
	}
	if n := s.metric("muster_sink_assigned_partitions"); n != 2*parts {
		t.Errorf("%v partitions are left, want %d", n, 2*parts)
	}
	p.set(pass)
	w.stored(40 * time.Second)
	s.stop()
	w.audit()
}

func TestMembersThatComeAndGoInTheMiddleOfInsertsLoseAndDoubleNothing(t *testing.T) {
	w := newWorld(t)
	w.defineProfile(1)
	a := w.start(w.cfg)
	for range 4 {
		b, c := w.start(w.cfg), w.start(w.cfg)
		for range 3 {
			w.send(40)
		}
		<-time.After(time.Duration(w.rng.IntN(300)) * time.Millisecond)
		b.stop()
		w.send(40)
		c.stop()
	}
	w.stored(30 * time.Second)
	a.stop()
	w.audit()
}

func TestAProcessThatWasStoppedAndWakesUpDoublesNothing(t *testing.T) {
	w := newWorld(t)
	w.defineProfile(1)
	for range 3 {
		zombie := w.spawn(w.cfg)
		w.send(40)
		w.until("it works", 20*time.Second, func() (bool, string) {
			w.send(2)
			return w.count("SELECT count() FROM DB.ledger") > 0, ""
		})
		w.send(100)
		<-time.After(time.Duration(w.rng.IntN(100)) * time.Millisecond)
		if err := zombie.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		heir := w.start(w.cfg)
		w.stored(30 * time.Second)
		w.send(40)
		if err := zombie.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		w.send(40)
		w.stored(30 * time.Second)
		heir.stop()
		zombie.kill()
	}
	s := w.start(w.cfg)
	w.send(20)
	w.stored(30 * time.Second)
	s.stop()
	w.audit()
}

// The client has many ways to commit, and each but one would put something else where the plan stands.
func TestThereIsOneCommitPath(t *testing.T) {
	other := map[string]bool{}
	for _, name := range []string{"CommitRecords", "CommitUncommittedOffsets", "CommitMarkedOffsets", "CommitOffsets", "MarkCommitRecords", "MarkCommitOffsets",
		"AutoCommitMarks", "AutoCommitInterval", "AutoCommitCallback", "GreedyAutoCommit", "CommitAllOffsets"} {
		other[name] = true
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	syncs, disabled := 0, 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch name := sel.Sel.Name; {
			case other[name]:
				t.Errorf("%s uses %s: it would erase the plan", f.Name(), name)
			case name == "CommitOffsetsSync":
				syncs++
			case name == "DisableAutoCommit":
				disabled++
			}
			return true
		})
	}
	if syncs != 1 || disabled != 1 {
		t.Errorf("%d commit paths and %d times no autocommit, want 1 and 1", syncs, disabled)
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"group": func(c *Config) { c.Group = "" }, "linger": func(c *Config) { c.Linger = 6 * time.Second }, "buffer": func(c *Config) { c.Buffer = 1 },
		"crash_at": func(c *Config) { c.CrashAt = "nowhere" }, "crash_at ": func(c *Config) { c.CrashAt = atInsertAcked + ":0" }, "boots": func(c *Config) { c.Boots = 0 },
		"plan_bytes": func(c *Config) { c.PlanBytes = 0 }, "wide_rows": func(c *Config) { c.WideRows = 0 }, "session_timeout": func(c *Config) { c.SessionTimeout = 0 },
		"settle": func(c *Config) { c.Settle = -1 }, "log.brokers": func(c *Config) { c.Log.Brokers = nil }, "warehouse": func(c *Config) { c.Warehouse.Addr = "" },
	} {
		c := DefaultConfig()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(fmt.Sprint(err), strings.TrimSpace(key)) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
