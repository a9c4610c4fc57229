package sink

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/proto/record"
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
	w.stored(patience)
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
			w.stored(patience)
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
			s := w.start(calm(cfg))
			w.send(40)
			for range 3 {
				w.send(40)
				p.quietly(mode)
				w.send(40)
				<-time.After(time.Duration(w.rng.IntN(400)) * time.Millisecond)
				p.set(pass)
			}
			w.stored(patience)
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
	cfg.SessionTimeout = 1500 * time.Millisecond // twice over within what is waited for, and more than a busy machine takes
	s := w.start(cfg)
	w.send(40)
	w.stored(patience)
	p.set(refuse)
	for range 12 {
		w.send(400)
	}
	// Over the bound there can be what one poll brings and what the client fetched ahead.
	var most float64
	end := time.Now().Add(2*cfg.SessionTimeout + time.Second)
	w.until("some session timeouts pass", patience, func() (bool, string) {
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
	w.stored(patience)
	s.stop()
	w.audit()
}

// Members join and leave while there is always something to insert. In the torture every other one is a process that is
// killed, MUSTER_TEST_MEMBERS come and go, and all the time nobody commits for a partition that is another's.
func TestMembersThatComeAndGoInTheMiddleOfInsertsLoseAndDoubleNothing(t *testing.T) {
	members := 8
	if full() {
		members = times(t, "MUSTER_TEST_MEMBERS", 300)
	}
	lanes(t, 1, func(t *testing.T, w *world, _ int) {
		w.defineProfile(1)
		w.cfg.SessionTimeout = time.Second // they are to leave by themselves, however busy the machine is
		owners := w.watchOwners()
		a := w.start(w.cfg)
		for range members / 2 {
			b := w.start(w.cfg)
			var leave func()
			if full() {
				leave = w.spawn(w.cfg).kill
			} else {
				leave = w.start(w.cfg).stop
			}
			for range 3 {
				w.send(40)
			}
			<-time.After(time.Duration(w.rng.IntN(300)) * time.Millisecond)
			b.stop()
			w.send(40)
			leave()
		}
		w.stored(patience)
		a.stop()
		w.audit()
		t.Logf("%d members came and went, %d offsets; %s", members, sum(w.records), owners())
	})
}

// watchOwners holds each commit to the assignment of its generation, as the group's leaders gave it: the broker itself
// asks for the member and the generation alone. What it returns says how much was looked at. A real broker cannot be
// watched.
func (w *world) watchOwners() func() string {
	if w.cluster == nil {
		return func() string { return "the broker was not watched" }
	}
	topics, err := w.adm.ListTopics(w.t.Context(), record.TopicTelemetry, record.TopicEvents)
	if err != nil {
		w.t.Fatal(err)
	}
	names := map[[16]byte]string{}
	for name, t := range topics {
		names[t.ID] = name
	}
	type slot struct {
		generation int32
		place
	}
	var mu sync.Mutex // over the two below
	owners, commits := map[slot]string{}, 0
	generations := map[int32]bool{}
	w.cluster.ControlKey(kmsg.SyncGroup.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		s := r.(*kmsg.SyncGroupRequest)
		for _, m := range s.GroupAssignment {
			generations[s.Generation] = true
			var a kmsg.ConsumerMemberAssignment
			if err := a.ReadFrom(m.MemberAssignment); err != nil {
				w.t.Errorf("an assignment: %v", err)
				continue
			}
			for _, t := range a.Topics {
				for _, p := range t.Partitions {
					owners[slot{s.Generation, place{t.Topic, p}}] = m.MemberID
				}
			}
		}
		return nil, nil, false
	})
	w.cluster.ControlKey(kmsg.OffsetCommit.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		c := r.(*kmsg.OffsetCommitRequest)
		for _, t := range c.Topics {
			for _, p := range t.Partitions {
				commits++
				at := slot{c.Generation, place{cmp.Or(t.Topic, names[t.TopicID]), p.Partition}}
				if at.topic == "" {
					w.t.Errorf("a commit for the topic with the id %x", t.TopicID)
				}
				// Nobody's is fine: a partition on its way to another member is given back first.
				if owner := owners[at]; owner != "" && owner != c.MemberID {
					w.t.Errorf("%s commits %s, which is %s's in generation %d", c.MemberID, at.place, owner, c.Generation)
				}
			}
		}
		return nil, nil, false
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if commits == 0 || len(generations) == 0 {
			w.t.Error("no commit or no assignment was seen")
		}
		return fmt.Sprintf("%d commits in %d generations were of the partitions' owners", commits, len(generations))
	}
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
