package warehouse_test

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/batch"
)

var env = warehouse.Profile{Name: "env", Metrics: []warehouse.Metric{
	{Name: "temp_c", Kind: batch.Int, Scale: 2},
	{Name: "uptime_s", Kind: batch.Int},
	{Name: "drift", Kind: batch.Float},
	{Name: "door", Kind: batch.Bool},
	{Name: "mode", Kind: batch.Text},
	{Name: "off", Kind: batch.Int, Scale: 1}, // a metric named as a column is
}}

type sample struct {
	device, metric string
	ts             time.Time
	value          float64
	integer        *int64
	text, fw       string
	class          string
}

func samples(t *testing.T, w *warehouse.Warehouse, view, where string) []sample {
	t.Helper()
	rows, err := w.Conn().Query(t.Context(), "SELECT device, metric, ts, value, int, text, fw, class FROM "+w.Database()+"."+view+" WHERE "+where+" ORDER BY ts, metric")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []sample
	for rows.Next() {
		var s sample
		if err := rows.Scan(&s.device, &s.metric, &s.ts, &s.value, &s.integer, &s.text, &s.fw, &s.class); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSamplesShowsWideAndOverflowRowsAlike(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	b := warehousetest.NewWideBlock(env)
	b.Append(1, 0, 9, 1)
	b.DeviceNo.Append(3)
	b.Device.AppendString("pump-3")
	b.TS.Append(day0.UnixMilli())
	b.Firmware.AppendString("2.0")
	b.Class.Append(1)
	b.Metrics[0].(*native.Nullable[int32]).Append(-2157)
	b.Metrics[1].(*native.Nullable[int64]).Append(1<<60 + 1)
	b.Metrics[3].(*native.Nullable[bool]).Append(true)
	b.Metrics[4].(*native.Dictionary).AppendString("eco")
	b.PadTo(1)
	insert(t, w, b.Table, b.Block, "wide")

	o := warehousetest.NewOtherBlock()
	o.Append(1, 0, 9, 3)
	o.Class.Fill(1, 3)
	o.DeviceNo.Fill(3, 3)
	o.Device.FillID(o.Device.IDString("pump-3"), 3)
	o.Firmware.FillID(o.Firmware.IDString("2.0"), 3)
	o.TS.Fill(day0.Add(time.Minute).UnixMilli(), 3)
	for _, m := range []string{"a_scaled", "b_whole", "c_text"} {
		o.Metric.AppendString(m)
	}
	o.Value.AppendSlice([]float64{1.5, 1 << 60, math.NaN()})
	o.Int.AppendSlice([]int64{15, 1<<60 + 1})
	o.Int.AppendNull()
	o.Text.AppendString("")
	o.Text.AppendString("")
	o.Text.AppendString("hello")
	o.Scale.AppendSlice([]int8{1, 0, warehousetest.ScaleText})
	insert(t, w, "s_other", o.Block, "other")

	got := samples(t, w, "samples", "device = 'pump-3'")
	var lines []string
	for _, s := range got {
		integer := "NULL"
		if s.integer != nil {
			integer = fmt.Sprint(*s.integer)
		}
		lines = append(lines, fmt.Sprintf("%s %v %s %q %s %s", s.metric, s.value, integer, s.text, s.fw, s.class))
	}
	want := []string{
		`door 1 NULL "" 2.0 debug`,
		`mode NaN NULL "eco" 2.0 debug`,
		`temp_c -21.57 NULL "" 2.0 debug`,
		`uptime_s 1.152921504606847e+18 1152921504606846977 "" 2.0 debug`,
		`a_scaled 1.5 NULL "" 2.0 debug`,
		`b_whole 1.152921504606847e+18 1152921504606846977 "" 2.0 debug`,
		`c_text NaN NULL "hello" 2.0 debug`,
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Fatalf("samples are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if got := samples(t, w, "samples_env", "metric = 'temp_c'"); len(got) != 1 || got[0].value != -21.57 {
		t.Fatalf("the profile's view: %v", got)
	}
	if n := scalar[uint64](t, w, "SELECT n FROM "+w.Database()+".samples_1m WHERE metric = 'temp_c'"); n != 1 {
		t.Fatalf("the minute has %d values", n)
	}
}

func TestAMetricArrivesWhileRowsOfTheOldShapeAreInserted(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	old := warehousetest.NewWideBlock(env)
	wide(old, day0, 1, 1, 5, 0)
	more := env
	more.Metrics = append(more.Metrics[:len(more.Metrics):len(more.Metrics)], warehouse.Metric{Name: "nh3_ppm", Kind: batch.Int, Scale: 1})
	for range 2 {
		if err := w.EnsureProfile(t.Context(), more); err != nil {
			t.Fatal(err)
		}
	}
	insert(t, w, old.Table, old.Block, "old")
	b := warehousetest.NewWideBlock(more)
	wide(b, day0.Add(time.Hour), 1, 1, 5, 1)
	b.Metrics[6].(*native.Nullable[int32]).Append(31)
	b.PadTo(5)
	insert(t, w, b.Table, b.Block, "new")
	if got := samples(t, w, "samples", "metric = 'nh3_ppm'"); len(got) != 1 || got[0].value != 3.1 {
		t.Fatalf("%v", got)
	}
	// An older program that knows fewer metrics takes nothing away.
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if got := samples(t, w, "samples", "metric = 'nh3_ppm'"); len(got) != 1 {
		t.Fatalf("%v", got)
	}
}

func TestAProfileThatContradictsItsTableChangesNothing(t *testing.T) {
	w := warehousetest.Start(t)
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]warehouse.Profile{
		"another scale": {Name: "env", Metrics: []warehouse.Metric{{Name: "temp_c", Kind: batch.Int, Scale: 3}, {Name: "fresh"}}},
		"bad profile":   {Name: "1h"},
		"bad metric":    {Name: "env", Metrics: []warehouse.Metric{{Name: "Temp"}}},
		"quote":         {Name: "env", Metrics: []warehouse.Metric{{Name: "a`b"}}},
		"twice":         {Name: "env", Metrics: []warehouse.Metric{{Name: "a"}, {Name: "a"}}},
		"scale of text": {Name: "env", Metrics: []warehouse.Metric{{Name: "a", Kind: batch.Text, Scale: 1}}},
		"scale of ten":  {Name: "env", Metrics: []warehouse.Metric{{Name: "a", Scale: 10}}},
	} {
		if err := w.EnsureProfile(t.Context(), p); !warehouse.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM system.columns WHERE database = '"+w.Database()+"' AND table = 'w_env' AND name = 'fresh'"); n != 0 {
		t.Error("a refused profile left a column")
	}
}

func TestProfilesDefinedAtOnceAllStandInTheView(t *testing.T) {
	w := warehousetest.Start(t)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				var n uint64
				if err := w.Conn().QueryRow(t.Context(), "SELECT count() FROM "+w.Database()+".samples").Scan(&n); err != nil {
					t.Errorf("a reader was disturbed: %v", err)
					return
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			p := warehouse.Profile{Name: fmt.Sprint("p", i/2), Metrics: []warehouse.Metric{{Name: fmt.Sprint("m", i)}, {Name: "both"}}}
			if err := w.EnsureProfile(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for i := range 4 {
		b := warehousetest.NewWideBlock(warehouse.Profile{Name: fmt.Sprint("p", i/2), Metrics: []warehouse.Metric{{Name: fmt.Sprint("m", i)}}})
		b.TS.Append(day0.UnixMilli())
		b.Metrics[0].(*native.Nullable[int64]).Append(int64(i))
		b.PadTo(1)
		insert(t, w, b.Table, b.Block, fmt.Sprint("row", i))
		if got := samples(t, w, "samples", fmt.Sprintf("metric = 'm%d'", i)); len(got) != 1 || got[0].value != float64(i) {
			t.Errorf("metric m%d: %v", i, got)
		}
	}
}

func TestOnlyViewsThatAreMadeAnewAreDerived(t *testing.T) {
	for name, want := range map[string]bool{
		"samples": true, "samples_1m": true, "samples_default": true, "stored_minutes": true, "hours": true, "stored_hours": true,
		"samples_1h": false, "samples_1h_staging": false, "samples_1m_stored": false, "samples_1m_staging": false, "ledger": false, "s_other": false, "s_old": false, "w_default": false, "messages": false,
	} {
		if got := warehouse.IsDerived(name); got != want {
			t.Errorf("IsDerived(%q) = %v", name, got)
		}
	}
}
