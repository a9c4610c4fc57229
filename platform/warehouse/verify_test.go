package warehouse_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

func TestALedgerRangeAndATableRangeCountWhatIsThere(t *testing.T) {
	w := warehousetest.Start(t)
	insert(t, w, "ledger", ledger(1, 2, message{off: 10, outcome: 1}, message{off: 11, outcome: 1}, message{off: 13, outcome: 5}), "a")
	insert(t, w, "ledger", ledger(2, 2, message{off: 12, outcome: 1}), "b")
	for _, c := range []struct {
		gen, part uint16
		from, to  uint64
		rows      uint64
	}{{1, 2, 10, 13, 3}, {1, 2, 11, 12, 1}, {1, 3, 0, 99, 0}, {2, 2, 0, 99, 1}, {1, 2, 14, ^uint64(0), 0}} {
		rows, offsets, err := w.LedgerRange(t.Context(), c.gen, c.part, c.from, c.to)
		if err != nil || rows != c.rows || offsets != c.rows {
			t.Errorf("%+v: %d rows, %d offsets, %v", c, rows, offsets, err)
		}
	}
	got, err := w.TableRange(t.Context(), "ledger", 1, 2, 0, 99)
	if want := map[string]uint64{warehouse.MonthOf(day0.UnixMilli()): 3}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, want %v, %v", got, want, err)
	}
	if _, err := w.TableRange(t.Context(), "x` --", 1, 2, 0, 99); !warehouse.IsPermanent(err) {
		t.Errorf("a table's name was not refused: %v", err)
	}
}

func TestDuplicateStateIsWhatLiesBelowAnOffset(t *testing.T) {
	w := warehousetest.Start(t)
	insert(t, w, "ledger", ledger(1, 0,
		message{off: 0, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 1},
		message{off: 1, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 2000},
		message{off: 2, outcome: warehousetest.Quarantined, device: 7, boot: 1, seq: 1990},
		message{off: 3, outcome: warehousetest.Duplicate, device: 7, boot: 1, seq: 1995},
		message{off: 4, outcome: warehousetest.Conflict, device: 7, boot: 1, seq: 1996},
		message{off: 5, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 977}, // 1,023 below the highest
		message{off: 6, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 976}, // one too far
		message{off: 7, outcome: warehousetest.Stored, device: 8, boot: 4, seq: warehouse.Unkeyed},
		message{off: 8, outcome: warehousetest.Stored, device: 9, boot: 4, seq: 0},
		message{off: 9, outcome: warehousetest.Control},
		message{off: 10, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 3000},
	), "a")
	state := func(since, below uint64) map[[2]uint32]warehouse.Seen {
		t.Helper()
		m := make(map[[2]uint32]warehouse.Seen)
		if err := w.DuplicateState(t.Context(), 1, 0, since, below, func(s *warehouse.Seen) error {
			m[[2]uint32{s.DeviceNo, s.Boot}] = *s
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := state(0, 10)
	if len(m) != 2 {
		t.Fatalf("%d boots: %v", len(m), m)
	}
	s := m[[2]uint32{7, 1}]
	if s.High != 2000 {
		t.Fatalf("highest %d", s.High)
	}
	for seq, want := range map[uint64]bool{2000: true, 1990: true, 1995: false, 1996: false, 977: true, 978: false, 2001: false} {
		if seen, in := s.Has(seq); !in || seen != want {
			t.Errorf("seq %d: seen %v, within %v", seq, seen, in)
		}
	}
	if _, in := s.Has(976); in {
		t.Error("976 is within the window")
	}
	if z := m[[2]uint32{9, 4}]; z.High != 0 || z.Bits[0] != 1 {
		t.Errorf("seq 0: %+v", z)
	}
	if m := state(0, 1); len(m) != 1 || m[[2]uint32{7, 1}].High != 1 {
		t.Errorf("below 1: %v", m)
	}
	if m := state(8, 10); len(m) != 1 || m[[2]uint32{9, 4}].DeviceNo != 9 {
		t.Errorf("since 8: %v", m)
	}
	if m := state(0, 0); len(m) != 0 {
		t.Errorf("below 0: %v", m)
	}
	if m := state(10, 11); m[[2]uint32{7, 1}].High != 3000 {
		t.Errorf("since 10: %v", m)
	}
	if s := state(2, 6)[[2]uint32{7, 1}]; s.High != 1990 || func() bool { seen, in := s.Has(977); return !seen || !in }() {
		t.Errorf("from 2 below 6, which the 2000 at 1 is no part of: %+v", s)
	}
	if err := w.DuplicateState(t.Context(), 1, 0, 5, 6+warehouse.MaxStateOffsets, nil); !warehouse.IsPermanent(err) {
		t.Errorf("more offsets than one question may take: %v", err)
	}
}

func TestTheLedgerIsCutIntoSpansFromItsLowestOffset(t *testing.T) {
	w := warehousetest.Start(t)
	insert(t, w, "ledger", ledger(1, 0, message{off: 95, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 1}, message{off: 140, outcome: warehousetest.Control}), "a")
	insert(t, w, "ledger", ledger(1, 1, message{off: 3, outcome: warehousetest.Control}), "b")
	for _, c := range []struct {
		below, step uint64
		want        []warehouse.Span
	}{
		{130, 20, []warehouse.Span{{95, 115}, {115, 130}}},
		{96, 20, []warehouse.Span{{95, 96}}},
		{95, 20, nil},
		{95, 95, []warehouse.Span{{0, 95}}}, // one question is enough: none for the start
		{0, 20, nil},
	} {
		got, err := w.LedgerSpans(t.Context(), 1, 0, c.below, c.step)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("below %d by %d: %v, want %v, %v", c.below, c.step, got, c.want, err)
		}
	}
}

func TestDuplicateStateEqualsWhatALedgerReadInOrderTeaches(t *testing.T) {
	w := warehousetest.Start(t)
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var list []message
	known := map[warehouse.Key]bool{}
	high := map[[2]uint32]uint64{}
	const below = 4000
	for off := range uint64(5000) {
		m := message{off: off, outcome: warehousetest.Stored, device: 1 + r.Uint32N(3), boot: r.Uint32N(2), seq: r.Uint64N(3000)}
		key := warehouse.Key{DeviceNo: m.device, Boot: m.boot, Seq: m.seq}
		if known[key] {
			m.outcome = warehousetest.Duplicate
		}
		list = append(list, m)
		if off < below {
			known[key] = true
			boot := [2]uint32{m.device, m.boot}
			high[boot] = max(high[boot], m.seq)
		}
	}
	insert(t, w, "ledger", ledger(1, 0, list...), "all")
	boots := 0
	err := w.DuplicateState(t.Context(), 1, 0, 0, below, func(s *warehouse.Seen) error {
		boots++
		if s.High != high[[2]uint32{s.DeviceNo, s.Boot}] {
			t.Errorf("highest of %d/%d is %d", s.DeviceNo, s.Boot, s.High)
		}
		for seq := range uint64(3100) {
			seen, in := s.Has(seq)
			if want := seq > s.High || s.High-seq < warehouse.Window; in != want {
				t.Fatalf("seq %d within: %v", seq, in)
			}
			if in && seen != known[warehouse.Key{DeviceNo: s.DeviceNo, Boot: s.Boot, Seq: seq}] {
				t.Fatalf("%d/%d seq %d seen: %v", s.DeviceNo, s.Boot, seq, seen)
			}
		}
		return nil
	})
	if err != nil || boots != len(high) {
		t.Fatalf("%d boots, want %d, %v", boots, len(high), err)
	}
}

func TestLookUpFindsTheFirstOccurrenceBelowAnOffset(t *testing.T) {
	w := warehousetest.Start(t)
	insert(t, w, "ledger", ledger(1, 0,
		message{off: 0, outcome: warehousetest.Duplicate, device: 7, boot: 1, seq: 5},
		message{off: 4, outcome: warehousetest.Stored, device: 7, boot: 1, seq: 5},
		message{off: 6, outcome: warehousetest.Conflict, device: 7, boot: 1, seq: 5},
		message{off: 8, outcome: warehousetest.Quarantined, device: 7, boot: 2, seq: 5},
		message{off: 9, outcome: warehousetest.Stored, device: 8, boot: 1, seq: 5},
	), "a")
	a, b, c, d := warehouse.Key{DeviceNo: 7, Boot: 1, Seq: 5}, warehouse.Key{DeviceNo: 7, Boot: 2, Seq: 5}, warehouse.Key{DeviceNo: 8, Boot: 1, Seq: 5}, warehouse.Key{DeviceNo: 9, Boot: 1, Seq: 5}
	want := map[warehouse.Key]warehouse.First{a: {Off: 4, Hash: 12}, b: {Off: 8, Hash: 24}}
	for _, step := range []uint64{1, 5, warehouse.LookupOffsets} {
		if got, err := warehouse.LookUpBy(t.Context(), w, 1, 0, 9, step, []warehouse.Key{a, b, c, d}); err != nil || !maps.Equal(got, want) {
			t.Fatalf("by %d: %v, want %v, %v", step, got, want, err)
		}
	}
	if got, err := w.LookupKeys(t.Context(), 1, 0, 9, nil); err != nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	many := make([]warehouse.Key, warehouse.MaxLookupKeys)
	for i := range many {
		many[i] = warehouse.Key{DeviceNo: 1<<31 + uint32(i), Boot: 1 << 31, Seq: 1 << 52}
	}
	many[len(many)-1] = a
	if got, err := w.LookupKeys(t.Context(), 1, 0, 9, many); err != nil || len(got) != 1 {
		t.Fatalf("of as many as may be: %v, %v", got, err)
	}
	if _, err := w.LookupKeys(t.Context(), 1, 0, 9, append(many, a)); !warehouse.IsPermanent(err) {
		t.Fatalf("one too many: %v", err)
	}
}

func TestKillingAQueryThatDoesNotRunIsNoError(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.KillQuery(t.Context(), "topic/0/1-2/0/ledger"); err != nil {
		t.Fatal(err)
	}
	if err := w.KillQuery(t.Context(), "x' OR 1 --"); !warehouse.IsPermanent(err) {
		t.Fatal(err)
	}
}

func TestKillingAQueryReturnsWhenItIsOver(t *testing.T) {
	w := warehousetest.Start(t)
	id := "long-" + w.Database()
	ended := make(chan error, 1)
	go func() {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithQueryID(id))
		ended <- w.Conn().Exec(ctx, "SELECT sum(sleepEachRow(0.1)), '"+id+"' FROM numbers(1000) SETTINGS max_block_size = 1")
	}()
	running := func() bool {
		return scalar[uint64](t, w, "SELECT count() FROM system.processes WHERE query LIKE '%"+id+"%' AND query NOT LIKE '%processes%'") > 0
	}
	for !running() {
		select {
		case err := <-ended:
			t.Fatalf("the query does not run: %v", err)
		default:
		}
	}
	if err := tryInsert(t, w, "ledger", ledger(1, 0, message{off: 1, outcome: 1}), id); err == nil {
		t.Error("a second query took the id of one that runs")
	}
	if err := w.KillQuery(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if running() {
		t.Error("it runs after it was killed")
	}
	if err := <-ended; err == nil {
		t.Error("a killed query succeeded")
	}
}

func TestTheEngineSaysWhenItWasStarted(t *testing.T) {
	w := warehousetest.Start(t)
	a, err := w.Started(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Started(t.Context())
	if err != nil || b.Sub(a).Abs() > 2*time.Second || time.Since(a) < 0 {
		t.Fatalf("%v, then %v, %v", a, b, err)
	}
}

func TestTheAuditorFindsWhatIsMissingDoubleAndMiscounted(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	ts := day0.Add(time.Hour)
	insert(t, w, "s_other", other(1, 0, 0, 1, "odd", ts, 1), "s0")
	insert(t, w, "s_old", other(1, 1, 5, 1, "odd", ts, 1), "s1")
	insert(t, w, "ledger", ledger(1, 0,
		message{off: 0, outcome: warehousetest.Stored, device: 1, boot: 1, seq: 1, n: 1},
		message{off: 1, outcome: warehousetest.Stored, device: 1, boot: 1, seq: warehouse.Unkeyed},
		message{off: 2, outcome: warehousetest.Stored, device: 1, boot: 1, seq: warehouse.Unkeyed},
		message{off: 3, outcome: warehousetest.Duplicate, device: 1, boot: 1, seq: 1}), "l0")
	r, err := w.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Partitions) != 2 || !r.Partitions[0].OK() || r.Partitions[1].OK() || r.OK() {
		t.Fatalf("rows without a ledger are in order: %v", r)
	}
	insert(t, w, "ledger", ledger(1, 1,
		message{off: 4, outcome: warehousetest.Stored, device: 1, boot: 2, seq: 1, n: 1, fault: 2},
		message{off: 6, outcome: warehousetest.Stored, device: 1, boot: 2, seq: 1}), "l1")
	insert(t, w, "s_other", other(1, 1, 9, 1, "odd", ts, 1), "s2") // its ledger is still to come
	var lines []string
	r, err = w.AuditWith(t.Context(), warehouse.AuditSettings{Progress: func(l string) { lines = append(lines, l) }})
	if err != nil {
		t.Fatal(err)
	}
	p := r.Partitions[slices.IndexFunc(r.Partitions, func(p warehouse.Partition) bool { return p.Part == 1 })]
	if p.Missing != 1 || p.DoubleKeys != 1 || p.Double != 0 || p.Values != 1 || p.Found != 1 || p.Faults != 2 || p.FoundFaults != 0 || p.Landing != 1 {
		t.Fatalf("%+v", p)
	}
	if len(lines) == 0 || r.String() == "" {
		t.Error("no progress, or no report")
	}
	r, err = w.AuditWith(t.Context(), warehouse.AuditSettings{LedgerOnly: true})
	if err != nil || r.Partitions[1].Faults != r.Partitions[1].FoundFaults {
		t.Fatalf("%v, %v", r, err)
	}
}
