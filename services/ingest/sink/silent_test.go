//go:build linux

package sink

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxResident is what a sink may hold while its store is away.
const maxResident = 512 << 20

// A store that takes connections and answers nothing is waited for, in bounded memory and as a member of the group.
// MUSTER_TEST_SILENCE is for how long, in the torture.
func TestTortureAStoreThatIsSilentCostsNeitherMemoryNorTheMember(t *testing.T) {
	length, messages := 5*time.Second, 4_000
	if full() {
		length, messages = 10*time.Minute, 200_000
		if s := os.Getenv("MUSTER_TEST_SILENCE"); s != "" {
			var err error
			if length, err = time.ParseDuration(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := newWorld(t)
	w.defineProfile(1)
	p, cfg := w.behind()
	cfg.SessionTimeout = 2 * time.Second // twice over within the silence, and more than a busy machine takes
	if d := DefaultConfig(); full() {
		cfg.SessionTimeout, cfg.Linger, cfg.Settle = d.SessionTimeout, d.Linger, d.Settle
	}
	sink := w.spawn(cfg)
	w.send(100)
	w.stored(patience)
	members := w.members()
	silent := time.Now()
	p.quietly(blackhole)
	const pieces = 40
	for i := range pieces { // more than the sink's buffer holds, in the torture; most of it early
		w.send(messages / pieces)
		<-time.After(time.Until(silent.Add(length * time.Duration(i) / (2 * pieces))))
		if now := w.members(); now != members {
			t.Fatalf("after %v the group's members are %s, and were %s", time.Since(silent), now, members)
		}
	}
	before := w.count("SELECT count() FROM DB.ledger")
	w.until("the silence is over", length+time.Minute, func() (bool, string) {
		<-time.After(500 * time.Millisecond)
		if now := w.members(); now != members {
			t.Fatalf("after %v the group's members are %s, and were %s", time.Since(silent), now, members)
		}
		return time.Since(silent) > length, ""
	})
	if n := w.count("SELECT count() FROM DB.ledger"); n != before {
		t.Errorf("the ledger went from %d to %d rows through a store that is silent", before, n)
	}
	silently := w.mostResident(sink)
	p.set(pass)
	back := time.Now()
	w.until("something is stored again", patience, func() (bool, string) {
		return w.count("SELECT count() FROM DB.ledger") > before, "nothing yet"
	})
	first := time.Since(back)
	w.stored(10 * time.Minute)
	all := time.Since(back)
	most := w.mostResident(sink)
	if most > maxResident {
		t.Errorf("the sink held %d MiB", most>>20)
	}
	if now := w.members(); now != members {
		t.Errorf("the group's members are %s, and were %s", now, members)
	}
	sink.leave()
	t.Logf("silent for %v, %d offsets; the sink held at most %d MiB, %d by the end of what it had to catch up with, and stayed %s; first row after %v, all after %v",
		length, sum(w.records), silently>>20, most>>20, members, first.Round(time.Millisecond), all.Round(time.Millisecond))
	w.audit()
}

// members names who is in the sinks' group.
func (w *world) members() string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	groups, err := w.adm.DescribeGroups(ctx, w.cfg.Group)
	if err != nil {
		w.t.Fatal(err)
	}
	g := groups[w.cfg.Group]
	var names []string
	for _, m := range g.Members {
		names = append(names, m.MemberID)
	}
	slices.Sort(names)
	return strings.Join(append(names, g.State), " ")
}

// mostResident is the most memory that a process held so far.
func (w *world) mostResident(p *process) int64 {
	w.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return kb << 10
		}
	}
	w.t.Fatal("no VmHWM")
	return 0
}
