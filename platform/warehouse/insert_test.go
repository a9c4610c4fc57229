package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

func TestTheSameTokenTwiceInsertsOnce(t *testing.T) {
	w := warehousetest.Start(t)
	b := ledger(1, 0, message{off: 0, outcome: warehousetest.Stored, device: 1, n: 1}, message{off: 1, outcome: warehousetest.Duplicate, device: 1})
	for range 3 {
		insert(t, w, "ledger", b, "plan-1")
	}
	rows, offsets, err := w.LedgerRange(t.Context(), 1, 0, 0, 10)
	if err != nil || rows != 2 || offsets != 2 {
		t.Fatalf("%d rows, %d offsets, %v", rows, offsets, err)
	}
}

func TestOneTokenCoversABlockOfManyDayPartitions(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	b := warehousetest.NewWideBlock(env)
	const days = 120 // beyond the engine's own limit of 100 partitions in a block
	for d := range days {
		wide(b, day0.AddDate(0, 0, -d), 4, 1, 3, uint64(d))
	}
	for range 2 {
		insert(t, w, b.Table, b.Block, "plan-days")
	}
	got, err := w.TableRange(t.Context(), b.Table, 1, 0, 0, 1000)
	if err != nil || len(got) != days {
		t.Fatalf("%d partitions, %v", len(got), err)
	}
	for d := range days {
		id := warehouse.PartitionOf(0, day0.AddDate(0, 0, -d).UnixMilli())
		if got[id] != 3 {
			t.Fatalf("partition %s has %d rows, want 3", id, got[id])
		}
	}
}

func TestOldReadingsLieInAPartitionAYear(t *testing.T) {
	w := warehousetest.Start(t)
	want := map[string]uint64{}
	o := warehousetest.NewOtherBlock()
	for d := range 1000 {
		ts := day0.AddDate(0, 0, -d).UnixMilli()
		o.TS.Append(ts)
		o.Class.Append(int8(d % 4))
		want[warehouse.YearOf(uint8(d%4), ts)]++
	}
	o.Metric.FillID(o.Metric.IDString("odd"), 1000)
	o.PadTo(1000)
	for range 2 {
		insert(t, w, "s_old", o.Block, "plan-years")
	}
	got, err := w.TableRange(t.Context(), "s_old", 0, 0, 0, 0)
	if err != nil || !maps.Equal(got, want) || len(want) != 4*3 {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM "+w.Database()+".samples WHERE metric = 'odd'"); n != 1000 {
		t.Errorf("%d samples", n)
	}
}

func TestAnotherTokenForTheSameRangeDoublesItAndTheAuditorSaysSo(t *testing.T) {
	w := warehousetest.Start(t)
	b := ledger(1, 0, message{off: 0, outcome: warehousetest.Stored, device: 1, boot: 1, seq: 1}, message{off: 1, outcome: warehousetest.Stored, device: 1, boot: 1, seq: 2})
	insert(t, w, "ledger", b, "plan-1")
	if r, err := w.Audit(t.Context()); err != nil || !r.OK() {
		t.Fatalf("before: %v, %v", r, err)
	}
	insert(t, w, "ledger", b, "plan-2")
	r, err := w.Audit(t.Context())
	if err != nil || r.OK() {
		t.Fatalf("the auditor calls a doubled range in order: %v, %v", r, err)
	}
	if p := r.Partitions[0]; p.Double != 2 || p.DoubleKeys != 2 || p.Missing != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestAColumnThatTheTableLacksIsAPermanentErrorAndNoDefault(t *testing.T) {
	w := warehousetest.Start(t)
	b := ledger(1, 0, message{off: 0, outcome: warehousetest.Stored})
	in, err := warehousetest.InsertOf("ledger", b, "t", "")
	if err != nil {
		t.Fatal(err)
	}
	in.Columns = append([]string{"nonsense"}, in.Columns[1:]...)
	if err := w.Insert(t.Context(), in); !warehouse.IsPermanent(err) {
		t.Fatalf("a statement with an unknown column: %v", err)
	}
	in.Columns = append([]string{"bytes"}, b.Names()[1:]...)
	if err := w.Insert(t.Context(), in); err == nil {
		t.Fatal("a block whose column is not the statement's was taken")
	}
	in, _ = warehousetest.InsertOf("no_such_table", b, "t", "")
	if err := w.Insert(t.Context(), in); !warehouse.IsPermanent(err) {
		t.Fatalf("an unknown table: %v", err)
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM "+w.Database()+".ledger"); n != 0 {
		t.Fatalf("%d rows landed", n)
	}
}

func TestAnInsertThatCannotBeRightIsRefusedBeforeItIsSent(t *testing.T) {
	w, err := warehouse.Open(warehouse.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	body := [][]byte{{1}}
	for name, in := range map[string]warehouse.Insert{
		"no token":     {Table: "ledger", Columns: []string{"a"}, Body: body},
		"no columns":   {Table: "ledger", Token: "t", Body: body},
		"no body":      {Table: "ledger", Token: "t", Columns: []string{"a"}},
		"bad table":    {Table: "ledger; DROP", Token: "t", Columns: []string{"a"}, Body: body},
		"bad column":   {Table: "ledger", Token: "t", Columns: []string{"a`"}, Body: body},
		"other's base": {Table: "system.users", Token: "t", Columns: []string{"a"}, Body: body},
	} {
		if err := w.Insert(t.Context(), in); !warehouse.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// far is an engine that can do anything, where the real one cannot be made to.
func far(t *testing.T, h http.HandlerFunc) *warehouse.Warehouse {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	cfg := warehouse.DefaultConfig()
	cfg.Addr = s.URL
	w, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func exception(code int, text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("X-ClickHouse-Exception-Code", fmt.Sprint(code))
		rw.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(rw, "Code: %d. DB::Exception: %s", code, text)
	}
}

func TestAFailedInsertSaysWhetherRowsMayHaveLanded(t *testing.T) {
	in := warehouse.Insert{Table: "ledger", Columns: []string{"off"}, Token: "t", Body: [][]byte{{1}, {2}}, Rows: 1}
	for name, c := range map[string]struct {
		far   http.HandlerFunc
		class warehouse.Class
	}{
		"unknown table":         {exception(60, "no such table"), warehouse.Permanent},
		"out of memory":         {exception(241, "memory limit exceeded"), warehouse.InDoubt},
		"took too long":         {exception(159, "timeout exceeded"), warehouse.InDoubt},
		"disk full":             {exception(243, "not enough space"), warehouse.InDoubt},
		"too many parts":        {exception(252, "Too many parts (3000)"), warehouse.Transient},
		"too many partitions":   {exception(252, "Too many partitions for single INSERT block (more than 100)"), warehouse.Permanent},
		"same id runs":          {exception(216, "query with id is already running"), warehouse.InDoubt},
		"a proxy's bad gateway": {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }, warehouse.InDoubt},
		"wrong credentials":     {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) }, warehouse.Permanent},
		"an exception behind 200": {func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, "Code: 241. DB::Exception: memory")
		}, warehouse.InDoubt},
		"the connection breaks": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, warehouse.InDoubt},
	} {
		err := far(t, c.far).Insert(t.Context(), in)
		var e *warehouse.Error
		if !errors.As(err, &e) || e.Class != c.class {
			t.Errorf("%s: %v, want %v", name, err, c.class)
		}
	}
}

func TestAnInsertWhoseContextEndsIsInDoubt(t *testing.T) {
	reached := make(chan struct{})
	w := far(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a lost client only when it has read the body
		close(reached)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	err := w.Insert(ctx, warehouse.Insert{Table: "ledger", Columns: []string{"off"}, Token: "t", Body: [][]byte{{1}}})
	if !warehouse.IsInDoubt(err) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAnEngineThatIsNotThereIsATransientError(t *testing.T) {
	cfg := warehouse.DefaultConfig()
	cfg.Addr = "http://127.0.0.1:1" // a port that was given back may be another's by now
	w, err := warehouse.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = w.Insert(t.Context(), warehouse.Insert{Table: "ledger", Columns: []string{"off"}, Token: "t", Body: [][]byte{{1}}})
	var e *warehouse.Error
	if !errors.As(err, &e) || e.Class != warehouse.Transient {
		t.Fatal(err)
	}
	if err := w.Ping(t.Context()); err == nil {
		t.Fatal("nobody answered the ping")
	}
}

func TestAnInsertCarriesItsSettingsAndBytes(t *testing.T) {
	got := make(chan *http.Request, 1)
	var body []byte
	w := far(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		got <- r
	})
	err := w.Insert(t.Context(), warehouse.Insert{Table: "ledger", Columns: []string{"off", "n"}, Token: "a/0/1-2/0/ledger", QueryID: "q", Body: [][]byte{{1, 2}, nil, {3}}})
	if err != nil {
		t.Fatal(err)
	}
	r := <-got
	q := r.URL.Query()
	for name, want := range map[string]string{
		"query":                      "INSERT INTO `muster`.`ledger` (`off`, `n`) FORMAT Native",
		"insert_deduplication_token": "a/0/1-2/0/ledger", "query_id": "q", "async_insert": "0", "max_execution_time": "30",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if string(body) != "\x01\x02\x03" || r.ContentLength != 3 {
		t.Errorf("body %x of %d bytes", body, r.ContentLength)
	}
}
