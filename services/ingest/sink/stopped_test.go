package sink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/services/ingest/sink/plan"
	"muster.dev/services/ingest/sink/rows"
)

// Where a process is stopped. What it had sent by then is held until it wakes, as a network may hold it.
const (
	stopWritten  = "the plan is written, the answer is not read"
	stopInsert   = "the first block is on its way"
	stopLedger   = "the ledger's block is on its way"
	stopWhenever = "at any moment"
)

// stopsAtOnce is how many processes stand still side by side: a stopped one costs nothing but its memory. After a short
// stop it is the takeovers that are side by side, and fewer of them, or all stops would be longer than they say.
func stopsAtOnce(length time.Duration) int {
	if length < time.Minute {
		return 5
	}
	return 25
}

// patience is for a machine that has other things to do. Where a time is promised the test says it.
const patience = 5 * time.Minute

// A process that is stopped between its plan and its insert, while another takes its partitions over, does not know of
// it when it wakes, and goes on where it was. MUSTER_TEST_STOPS is how many stops each length gets in the torture.
func TestAProcessThatWasStoppedAndWakesUpDoublesNothing(t *testing.T) {
	lengths, stops := []time.Duration{1500 * time.Millisecond}, 4
	if full() {
		lengths, stops = []time.Duration{5 * time.Second, 65 * time.Second, 300 * time.Second}, times(t, "MUSTER_TEST_STOPS", 100)
	}
	for _, length := range lengths {
		t.Run(length.String(), func(t *testing.T) {
			var result zombies
			side := 1
			if full() {
				side = min(stops, stopsAtOnce(length))
			}
			lanes(t, side, func(t *testing.T, w *world, lane int) {
				switch {
				case length > DefaultConfig().SessionTimeout:
					w.cfg.SessionTimeout = DefaultConfig().SessionTimeout
				case full():
					w.cfg.SessionTimeout = 2 * time.Second
				}
				w.defineProfile(1)
				places := []string{stopWritten, stopInsert, stopLedger, stopWhenever}
				if w.cluster == nil {
					places = places[1:] // nobody sees a real broker take a commit
				}
				for round := lane; round < stops; round += side {
					w.stopOne(round, places[(round/side+lane)%len(places)], length, &result)
				}
				s := w.start(w.cfg)
				w.send(20)
				w.stored(patience)
				s.stop()
				w.audit()
				result.add(w)
			})
			t.Logf("stopped for %v: %s", length, &result)
		})
	}
}

// zombies is what came of the stops of one length.
type zombies struct {
	mu      sync.Mutex
	places  map[string]int
	offsets int
	took    []time.Duration // from the stop until another stored
	alone   []time.Duration // from being alone again until what came since was stored by the one that woke
	late    int             // inserts of the plan that came to the store after the wake
	dropped int             // stops with such an insert; the audit says that the store dropped it
	refused int             // stops without: the group no longer took the plan for the process's own
}

func (z *zombies) add(w *world) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, n := range w.records {
		z.offsets += n
	}
}

func (z *zombies) String() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	n, where := 0, []string{}
	for place, k := range z.places {
		n += k
		where = append(where, fmt.Sprintf("%d when %s", k, place))
	}
	slices.Sort(where)
	return fmt.Sprintf("%d stops (%s), %d offsets; another stored after %s; %d late inserts in %d stops came to the store and doubled nothing, in %d stops the group refused first; alone again, the woken one had stored all after %s",
		n, strings.Join(where, ", "), z.offsets, spread(z.took), z.late, z.dropped, z.refused, spread(z.alone))
}

// spread is a p50, a p99 and the most.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "-"
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))].Round(10 * time.Millisecond) }
	return fmt.Sprintf("p50 %v, p99 %v, at most %v (of %d)", at(0.5), at(0.99), at(1), len(all))
}

// stopOne has one process stopped and woken.
func (w *world) stopOne(round int, place string, length time.Duration, results *zombies) {
	w.t.Helper()
	g := w.newGate()
	cfg := w.cfg
	cfg.Warehouse.Addr = g.addr()
	cfg.Log.ClientID = "victim-" + strconv.Itoa(round)
	victim := w.spawn(cfg)
	stop := func() {
		if err := victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			w.t.Errorf("stop the process: %v", err)
		}
	}
	g.arm(place, 1+w.rng.IntN(4), stop)
	if place == stopWritten {
		w.cluster.ControlKey(kmsg.OffsetCommit.Int16(), g.commits(w, cfg.Log.ClientID))
	}
	whenever := time.Now().Add(time.Hour)
	w.until("it works", patience, func() (bool, string) {
		w.send(10)
		select {
		case <-g.stopped:
			return true, ""
		case <-time.After(100 * time.Millisecond):
		}
		if place == stopWhenever && g.inserts() > 0 && whenever.After(time.Now().Add(time.Minute)) {
			whenever = time.Now().Add(time.Duration(w.rng.IntN(300)) * time.Millisecond)
		}
		if time.Now().After(whenever) {
			stop()
			return true, ""
		}
		return false, "nothing is stopped"
	})
	stopped := time.Now()
	taker := w.start(w.cfg)
	w.send(100)
	w.until("another takes over", patience, func() (bool, string) {
		return w.count(fmt.Sprintf("SELECT count() FROM DB.ledger WHERE stored_at > fromUnixTimestamp64Milli(%d)", stopped.UnixMilli())) > 0, "nothing was stored since the stop"
	})
	took := time.Since(stopped)
	<-time.After(time.Until(stopped.Add(length)))
	w.send(60) // so that the other is in the middle of something
	if w.rng.IntN(2) == 0 {
		g.wake()
		<-time.After(time.Duration(w.rng.IntN(200)) * time.Millisecond)
	}
	if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		w.t.Errorf("wake the process: %v", err)
	}
	<-time.After(time.Duration(w.rng.IntN(200)) * time.Millisecond)
	g.wake()
	w.send(40)
	w.stored(patience)
	g.settle(w)
	w.audit()
	var alone time.Duration
	if w.rng.IntN(2) == 0 { // the one that woke is a member like any other
		taker.stop()
		left := time.Now()
		w.send(40)
		w.stored(patience)
		alone = time.Since(left)
		w.audit()
	}
	victim.kill()
	taker.stop()

	results.mu.Lock()
	defer results.mu.Unlock()
	if results.places == nil {
		results.places = map[string]int{}
	}
	results.places[place]++
	results.took = append(results.took, took)
	if alone > 0 {
		results.alone = append(results.alone, alone)
	}
	switch late := g.lateInserts(); {
	case place == stopWhenever: // which plan it had is not known
	case late > 0:
		results.late += late
		results.dropped++
	default:
		results.refused++
	}
}

// gate stands between a sink and its store, and can stop the sink when an insert has come whole: it goes on to the
// store when the sink wakes.
type gate struct {
	server *http.Server
	ln     net.Listener
	pass   *httputil.ReverseProxy
	done   chan struct{}

	stopped chan struct{} // closed at the stop
	woken   chan struct{} // closed at the wake
	once    sync.Once
	held    sync.WaitGroup // what was held and is not answered

	mu    sync.Mutex // over the fields below
	place string
	after int // so many are let through first
	stop  func()
	plan  string // the name of the plan that the sink was stopped with
	seen  int
	late  int
}

func (w *world) newGate() *gate {
	w.t.Helper()
	target, err := url.Parse(w.cfg.Warehouse.Addr)
	if err != nil {
		w.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	g := &gate{ln: ln, done: make(chan struct{}), stopped: make(chan struct{}), woken: make(chan struct{})}
	g.pass = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, ErrorLog: log.New(io.Discard, "", 0)}
	g.server = &http.Server{Handler: g, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(g.done)
		_ = g.server.Serve(ln)
	}()
	w.t.Cleanup(func() {
		g.wake()
		g.held.Wait()
		_ = g.server.Close()
		<-g.done
		transport.CloseIdleConnections()
	})
	return g
}

func (g *gate) addr() string { return "http://" + g.ln.Addr().String() }

func (g *gate) arm(place string, after int, stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.place, g.after, g.stop = place, after, stop
}

func (g *gate) wake() { g.once.Do(func() { close(g.woken) }) }

// isWoken says whether the sink was woken, or was never to be stopped.
func (g *gate) isWoken() bool {
	select {
	case <-g.woken:
		return true
	default:
		return false
	}
}

func (g *gate) inserts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

func (g *gate) lateInserts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.late
}

// settle waits until the store has answered what was held.
func (g *gate) settle(w *world) {
	w.t.Helper()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		g.held.Wait()
	}()
	select {
	case <-answered:
	case <-time.After(patience):
		w.t.Error("the late insert is not answered")
	}
}

// meets says whether this is what the sink is to be stopped at, and stops it.
func (g *gate) meets(place, plan string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.place != place || g.plan != "" {
		return false
	}
	if g.after--; g.after > 0 {
		return false
	}
	g.plan = plan
	g.stop()
	close(g.stopped)
	return true
}

// commits sees the broker take a member's commits, before they are answered.
func (g *gate) commits(w *world, member string) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(r kmsg.Request) (kmsg.Response, error, bool) {
		c := r.(*kmsg.OffsetCommitRequest)
		if !strings.HasPrefix(c.MemberID, member+"-") {
			return nil, nil, false
		}
		for _, t := range c.Topics {
			for _, p := range t.Partitions {
				if p.Metadata == nil {
					continue
				}
				m, err := plan.Decode(*p.Metadata, p.Partition, p.Offset)
				if err == nil && m.Open != nil && g.meets(stopWritten, m.Open.Name()) {
					w.cluster.DropControl()
				}
			}
		}
		return nil, nil, false
	}
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := strings.Split(r.URL.Query().Get("insert_deduplication_token"), "/")
	if len(token) < 5 {
		g.pass.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sink went away
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	name, place := strings.Join(token[:4], "/"), stopInsert
	if token[4] == rows.TableLedger {
		place = stopLedger
	}
	if g.meets(place, name) {
		g.held.Add(1)
		defer g.held.Done()
		<-g.woken
		// It is on its way whatever the sink thinks of it by now.
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	g.mu.Lock()
	g.seen++
	if name == g.plan && g.isWoken() {
		g.late++
	}
	g.mu.Unlock()
	g.pass.ServeHTTP(w, r)
}
