package warehouse_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

var (
	partsLine    = regexp.MustCompile(`Parts: \d+ \| Granules: (\d+)`)
	granulesLine = regexp.MustCompile(`Granules: \d+/(\d+)`)
)

// granules reads EXPLAIN: how many granules of all tables a question selects,
// and how many those tables have.
func granules(t *testing.T, w *warehouse.Warehouse, query string) (selected, all int) {
	t.Helper()
	rows, err := w.Conn().Query(t.Context(), "EXPLAIN indexes = 1 "+query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var plan []string
	fresh := false
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
		if m := partsLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			selected, fresh = selected+n, true
		} else if m := granulesLine.FindStringSubmatch(line); m != nil && fresh {
			n, _ := strconv.Atoi(m[1])
			all, fresh = all+n, false
		}
	}
	if all == 0 {
		t.Fatalf("the plan names no granules:\n%s", strings.Join(plan, "\n"))
	}
	return selected, all
}

// seedFleet writes a day of a fleet, a block of 100 devices at a time, and
// merges it, as a day's end would.
func seedFleet(t testing.TB, w *warehouse.Warehouse, fleet uint32, steps int) {
	t.Helper()
	if err := w.EnsureProfile(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	b := warehousetest.NewWideBlock(env)
	for first := uint32(1); first <= fleet; first += 100 {
		b.Reset()
		wide(b, day0, first, min(100, fleet-first+1), steps, 0)
		insert(t, w, b.Table, b.Block, fmt.Sprint("fleet-", first))
	}
	if err := w.Conn().Exec(t.Context(), "OPTIMIZE TABLE "+w.Database()+".w_env FINAL"); err != nil {
		t.Fatal(err)
	}
}

func TestOneDevicesSamplesAreFoundWithoutReadingTheFleets(t *testing.T) {
	w := warehousetest.Start(t)
	const fleet, steps = 1000, 600
	seedFleet(t, w, fleet, steps)
	o := warehousetest.NewOtherBlock()
	for no := uint32(1); no <= fleet; no++ {
		id := o.Device.IDString(deviceName(no))
		o.Append(1, 0, uint64(no), steps)
		o.DeviceNo.Fill(no, steps)
		o.Device.FillID(id, steps)
		o.Metric.FillID(o.Metric.IDString("odd"), steps)
		for s := range steps {
			o.TS.Append(day0.Add(time.Duration(s) * time.Minute).UnixMilli())
		}
	}
	o.PadTo(fleet * steps)
	insert(t, w, "s_other", o.Block, "odd")
	o.Metric.Reset()
	for range fleet {
		o.Metric.FillID(o.Metric.IDString("old"), steps)
	}
	insert(t, w, "s_old", o.Block, "old")

	db := w.Database()
	for name, where := range map[string]string{
		"one device":                   "device = 'sim-00077'",
		"one device, one metric":       "device = 'sim-00077' AND metric = 'temp_c'",
		"one device, overflow":         "device = 'sim-00077' AND metric = 'odd'",
		"one device, old":              "device = 'sim-00077' AND metric = 'old'",
		"one device, one hour":         "device = 'sim-00077' AND ts >= '2026-11-20 01:00:00' AND ts < '2026-11-20 02:00:00'",
		"two devices":                  "device IN ('sim-00077', 'sim-00912')",
		"a device that does not exist": "device = 'nobody'",
	} {
		selected, all := granules(t, w, "SELECT count(), avg(value) FROM "+db+".samples WHERE "+where)
		t.Logf("%s: %d of %d granules", name, selected, all)
		if selected*20 > all {
			t.Errorf("%s: %d of %d granules are read, more than 5 %%", name, selected, all)
		}
	}
	if n := scalar[uint64](t, w, "SELECT count() FROM "+db+".samples WHERE device = 'sim-00077' AND metric = 'temp_c'"); n != steps {
		t.Errorf("%d samples, want %d", n, steps)
	}
}

func TestAMetricsPredicateLeavesTheOthersColumnsOnDisk(t *testing.T) {
	w := warehousetest.Start(t)
	seedFleet(t, w, 200, 600)
	_, one := granules(t, w, "SELECT avg(value) FROM "+w.Database()+".samples WHERE metric = 'temp_c'")
	_, direct := granules(t, w, "SELECT avg(toFloat64(temp_c)) FROM "+w.Database()+".w_env WHERE temp_c IS NOT NULL")
	_, every := granules(t, w, "SELECT avg(value) FROM "+w.Database()+".samples")
	if one != direct || every < len(env.Metrics)*direct {
		t.Fatalf("one metric through the view looks at %d granules, the table itself has %d, all metrics %d", one, direct, every)
	}
}

func TestStoredMinutesAreReadInPlaceOfTheirSamples(t *testing.T) {
	w := warehousetest.Start(t)
	const fleet, steps = 500, 600
	seedFleet(t, w, fleet, steps)
	db := w.Database()
	const question = "SELECT sum(n) FROM %s.samples_1m WHERE metric = 'temp_c'"
	_, raw := granules(t, w, "SELECT count(), avg(value) FROM "+db+".samples WHERE metric = 'temp_c'")
	before, _ := granules(t, w, fmt.Sprintf(question, db))
	for _, statement := range []string{
		"INSERT INTO %[1]s.samples_1m_staging (class, metric, device, minute, n, sum, min, max, last) SELECT class, metric, device, minute, n, avg * n, min, max, last FROM %[1]s.samples_1m WHERE metric = 'temp_c'",
		fmt.Sprintf("INSERT INTO %%[1]s.samples_1m_staging (device, minute, until) VALUES ('temp_c', %d, %d)", day0.Unix(), day0.Unix()+86400),
		"OPTIMIZE TABLE %[1]s.samples_1m_staging FINAL",
		"ALTER TABLE %[1]s.samples_1m_stored REPLACE PARTITION " + day0.Format("20060102") + " FROM %[1]s.samples_1m_staging",
	} {
		if err := w.Conn().Exec(t.Context(), fmt.Sprintf(statement, db)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if n := scalar[uint64](t, w, fmt.Sprintf(question, db)); n != fleet*steps {
		t.Errorf("%d values, want %d", n, fleet*steps)
	}
	of := func(what string) (selected, all int) {
		t.Helper()
		return granules(t, w, fmt.Sprintf("SELECT sum(n) FROM %s.%s", db, what))
	}
	fast, _ := of("samples_1m WHERE metric = 'temp_c'")
	stored, _ := of("stored_minutes WHERE metric = 'temp_c'")
	t.Logf("temp_c: %d of %d granules of the samples were read, %d of the stored minutes are", before, raw, fast)
	if fast != stored || before == 0 {
		t.Errorf("%d granules are read, %d of them stored minutes", fast, stored)
	}
	one, all := of("samples_1m WHERE device = 'sim-00077'")
	t.Logf("one device: %d of %d granules", one, all)
	if one*20 > all {
		t.Errorf("one device: %d of %d granules are read, more than 5 %%", one, all)
	}
}
